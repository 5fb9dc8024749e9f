# Run by cpack for the tarball: what `cmake --install` lays down, as one folder that can be anywhere:
#     sbin, opt/cni/bin, etc/skiff, lib, share    as installed, below the folder
#     lib/skiff                                   libraries, found from sbin ($ORIGIN/../lib/skiff)
# The C library stays the node's: programs that bring another cannot ask the node's for users and hosts.
set(staged ${SKIFF_BUILD}/packaging/tarball)
set(out ${CMAKE_INSTALL_PREFIX})
file(REMOVE_RECURSE ${staged})
execute_process(COMMAND ${CMAKE_COMMAND} -E env DESTDIR=${staged} ${CMAKE_COMMAND} --install ${SKIFF_BUILD} --prefix /usr --strip
        OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(GLOB usr ${staged}/usr/*)
file(COPY ${usr} ${staged}/etc ${staged}/opt DESTINATION ${out})
file(COPY ${CMAKE_CURRENT_LIST_DIR}/INSTALL DESTINATION ${out})
file(REMOVE_RECURSE ${staged} ${out}/share/lintian)

find_program(PATCHELF patchelf)
if(NOT PATCHELF)
        message(FATAL_ERROR "the tarball needs patchelf (deploy/install-packages.sh package)")
endif()
# A library's terms go with it: Debian keeps them by package.
function(keep_terms library)
        # Its database knows files by the name that they were packaged with, in /lib or in /usr/lib.
        string(REGEX REPLACE "^/usr" "" unmerged ${library})
        execute_process(COMMAND dpkg-query --search ${unmerged} /usr${unmerged} OUTPUT_VARIABLE owner ERROR_QUIET)
        string(REGEX REPLACE ":.*" "" owner "${owner}")
        if(NOT EXISTS /usr/share/doc/${owner}/copyright)
                message(FATAL_ERROR "${library}: no package has its terms")
        endif()
        file(COPY_FILE /usr/share/doc/${owner}/copyright ${out}/share/doc/skiff/${owner}.copyright)
endfunction()

foreach(program skiffd skiff skiff-pull skiff-unpack skiff-stream)
        file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${out}/sbin/${program} RESOLVED_DEPENDENCIES_VAR libraries
                UNRESOLVED_DEPENDENCIES_VAR unresolved
                # glibc's own: they are one with the loader.
                PRE_EXCLUDE_REGEXES "^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|nss_.*|anl|util))\\.so")
        if(unresolved)
                message(FATAL_ERROR "${program}: not found: ${unresolved}")
        endif()
        foreach(library ${libraries})
                get_filename_component(name ${library} NAME)
                if(NOT EXISTS ${out}/lib/skiff/${name})
                        file(COPY ${library} DESTINATION ${out}/lib/skiff FOLLOW_SYMLINK_CHAIN)
                        file(REAL_PATH ${library} file)
                        get_filename_component(file ${file} NAME)
                        execute_process(COMMAND ${PATCHELF} --set-rpath "$ORIGIN" ${out}/lib/skiff/${file}
                                COMMAND_ERROR_IS_FATAL ANY)
                        keep_terms(${library})
                endif()
        endforeach()
        execute_process(COMMAND ${PATCHELF} --set-rpath "$ORIGIN/../lib/skiff" ${out}/sbin/${program} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
