# `cpack --preset release`: a Debian package, and a tarball for all else. What of a package is computed at its making (the
# libraries that it needs) is cpack's own for the one, and in stage-tarball.cmake for the other.
set(CPACK_PACKAGE_NAME skiff)
set(CPACK_PACKAGE_VENDOR skiff)
set(CPACK_PACKAGE_CONTACT "skiff maintainers <maintainers@users.noreply.github.com>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Kubernetes node runtime in C")
set(CPACK_PACKAGE_DESCRIPTION "skiff runs the pods of a Kubernetes node: kubelet speaks to its
daemon, skiffd, over CRI. It keeps images on overlayfs, runs pods
through CNI network plugins and a small supervisor of its own, and
places them in the cgroups that kubelet made.
.
It stands where containerd and runc, or CRI-O and crun, stand. Pods
outlive the daemon: it can be restarted, replaced or killed while they
run.")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR})
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_SOURCE_DIR}/deploy/package/generator.cmake)
set(CPACK_SKIFF_SYSROOT ${CMAKE_SYSROOT})
set(CPACK_SKIFF_OBJDUMP ${CMAKE_OBJDUMP})
set(CPACK_GENERATOR DEB TGZ)

# --- Debian ---
set(debian_architecture amd64)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
        set(debian_architecture arm64)
endif()
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${debian_architecture})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# apparmor_parser loads the profile of containers, where the kernel has AppArmor.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS apparmor)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "containernetworking-plugins, cri-tools")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(debian ${CMAKE_SOURCE_DIR}/deploy/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian}/conffiles ${debian}/postinst ${debian}/prerm ${debian}/postrm)

# The changelog's one entry is this version, of the day of its last commit.
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} log -1 --format=%cD OUTPUT_VARIABLE changed OUTPUT_STRIP_TRAILING_WHITESPACE
        ERROR_QUIET)
if(NOT changed)
        string(TIMESTAMP changed "%a, %d %b %Y %H:%M:%S +0000" UTC)
endif()
file(CONFIGURE OUTPUT ${packaging}/changelog @ONLY CONTENT
"skiff (${PROJECT_VERSION}) unstable; urgency=medium

  * Version ${PROJECT_VERSION}.

 -- ${CPACK_PACKAGE_CONTACT}  ${changed}
")
# What is linked in statically has its own authors and terms.
set(bundled libabsl-dev libarchive-dev libc-ares-dev libgrpc-dev libprotobuf-c-dev libseccomp-dev libssl-dev libtoml11-dev
        libzstd-dev musl-dev uthash-dev zlib1g-dev)
set(bundled_text "")
set(bundled_missing "")
foreach(package ${bundled})
        if(EXISTS /usr/share/doc/${package}/copyright)
                file(READ /usr/share/doc/${package}/copyright text)
                string(REPLACE ";" "\;" text "${text}")
                string(APPEND bundled_text "==== ${package} ====\n\n${text}\n\n")
        else()
                list(APPEND bundled_missing ${package})
        endif()
endforeach()
file(WRITE ${packaging}/libraries-copyright "${bundled_text}")
if(bundled_missing)
        message(STATUS "packages would lack the terms of ${bundled_missing}: /usr/share/doc has none")
endif()
foreach(file changelog libraries-copyright)
        execute_process(COMMAND gzip -9nf ${packaging}/${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
install(FILES ${packaging}/changelog.gz ${packaging}/libraries-copyright.gz deploy/debian/copyright
        DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES deploy/debian/lintian-overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides RENAME skiff)
include(CPack)
