# What `cmake --install` lays down, relative to the prefix (/usr) but for what has one place on every node: configuration in
# /etc and skiff-bridge where all runtimes look for network plugins. skiffd finds its helpers beside itself. What is only for
# tests is in no rule.
include(GNUInstallDirs)
set(SKIFF_CNI_DIR /opt/cni/bin CACHE PATH "where skiff-bridge is installed")
set(SKIFF_PROGRAMS skiffd skiff skiff-pod skiff-pull skiff-unpack skiff-stream)
set(packaging ${CMAKE_BINARY_DIR}/packaging)

install(TARGETS ${SKIFF_PROGRAMS} RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS skiff-bridge RUNTIME DESTINATION ${SKIFF_CNI_DIR})
install(FILES deploy/skiff.toml DESTINATION /etc/skiff)

# Units name programs by their whole path.
file(READ deploy/skiff.service unit)
string(REPLACE /usr/sbin/ ${CMAKE_INSTALL_FULL_SBINDIR}/ unit "${unit}")
string(REPLACE /usr/share/doc/skiff/ ${CMAKE_INSTALL_FULL_DOCDIR}/ unit "${unit}")
file(CONFIGURE OUTPUT ${packaging}/skiff.service CONTENT "${unit}" @ONLY)
install(FILES ${packaging}/skiff.service DESTINATION lib/systemd/system)
install(FILES deploy/skiff.tmpfiles DESTINATION lib/tmpfiles.d RENAME skiff.conf)

# The manual and completions: of the programs' own tables, and of skiff.toml's comments.
set(generated "")
function(skiff_generate name)
        cmake_parse_arguments(arg "" "" "COMMAND;DEPENDS" ${ARGN})
        add_custom_command(OUTPUT ${packaging}/${name} DEPENDS ${arg_DEPENDS} VERBATIM
                COMMAND ${arg_COMMAND} > ${packaging}/${name}.new
                COMMAND ${CMAKE_COMMAND} -E rename ${packaging}/${name}.new ${packaging}/${name})
        set(generated ${generated} ${packaging}/${name} PARENT_SCOPE)
endfunction()
file(MAKE_DIRECTORY ${packaging})
skiff_generate(skiff.1 COMMAND skiff completion manual DEPENDS skiff)
foreach(shell bash zsh fish)
        skiff_generate(skiff.${shell} COMMAND skiff completion ${shell} DEPENDS skiff)
endforeach()
set(toml ${CMAKE_SOURCE_DIR}/deploy/skiff.toml ${CMAKE_SOURCE_DIR}/deploy/man/skiff.toml.5.awk)
skiff_generate(skiff.toml.5 COMMAND awk -f ${CMAKE_SOURCE_DIR}/deploy/man/skiff.toml.5.awk ${CMAKE_SOURCE_DIR}/deploy/skiff.toml
        DEPENDS ${toml})
foreach(page skiff.1 skiff.toml.5 skiffd.8 skiff-pod.8)
        set(source ${packaging}/${page})
        if(page MATCHES "8$")
                set(source ${CMAKE_SOURCE_DIR}/deploy/man/${page})
        endif()
        skiff_generate(${page}.gz COMMAND gzip -9nc ${source} DEPENDS ${source})
        string(REGEX MATCH "[0-9]$" section ${page})
        install(FILES ${packaging}/${page}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
# One page has all that are not for people.
foreach(program skiff-pull skiff-unpack skiff-stream)
        file(CREATE_LINK skiff-pod.8.gz ${packaging}/${program}.8.gz SYMBOLIC)
        install(FILES ${packaging}/${program}.8.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
endforeach()
add_custom_target(manual ALL DEPENDS ${generated})
add_dependencies(programs manual)
install(FILES ${packaging}/skiff.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME skiff)
install(FILES ${packaging}/skiff.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions RENAME _skiff)
install(FILES ${packaging}/skiff.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

install(FILES README.md deploy/skiff-bridge.md deploy/seccomp.md deploy/seccomp-default.json DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES deploy/10-skiff.conflist DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
# skiffd has the profile built in: a copy to change and load by its name.
install(FILES deploy/apparmor/skiff-default DESTINATION ${CMAKE_INSTALL_DATADIR}/skiff/apparmor)
