# Run by cpack before each generator.
list(GET CPACK_INSTALL_CMAKE_PROJECTS 0 SKIFF_BUILD)

# The tarball is put together by a script of its own: it is for any node and any folder, and brings the libraries that the
# Debian package depends on.
if(CPACK_GENERATOR STREQUAL "TGZ")
        set(CPACK_INSTALL_CMAKE_PROJECTS "")
        set(CPACK_PACKAGING_INSTALL_PREFIX /)
        set(CPACK_INSTALL_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/stage-tarball.cmake)
        set(CPACK_PACKAGE_FILE_NAME
                skiff-${CPACK_PACKAGE_VERSION}-linux-${CPACK_DEBIAN_PACKAGE_ARCHITECTURE})
endif()

# dpkg-shlibdeps knows the libraries that are installed; those of a sysroot, and what to depend on for them, its maker has noted
# (tests/arm64/sysroot.sh).
if(CPACK_GENERATOR STREQUAL "DEB" AND CPACK_SKIFF_SYSROOT)
        set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS OFF)
        file(STRINGS ${CPACK_SKIFF_SYSROOT}/.libraries known)
        set(depends "")
        foreach(program skiffd skiff skiff-pull skiff-unpack skiff-stream)
                execute_process(COMMAND ${CPACK_SKIFF_OBJDUMP} -p ${SKIFF_BUILD}/bin/${program} OUTPUT_VARIABLE headers
                        COMMAND_ERROR_IS_FATAL ANY)
                string(REGEX MATCHALL "NEEDED +[^\n]+" needed "${headers}")
                foreach(line ${needed})
                        string(REGEX REPLACE "NEEDED +" "" name "${line}")
                        set(owner ${known})
                        string(REPLACE "." "[.]" pattern ${name})
                        list(FILTER owner INCLUDE REGEX "^${pattern} ")
                        if(NOT owner)
                                message(FATAL_ERROR "${program} needs ${name}, which no package of ${CPACK_SKIFF_SYSROOT} has")
                        endif()
                        list(GET owner 0 owner)
                        string(FIND "${owner}" " " behind)
                        string(SUBSTRING "${owner}" ${behind} -1 owner)
                        string(STRIP "${owner}" owner)
                        list(APPEND depends "${owner}")
                endforeach()
        endforeach()
        list(REMOVE_DUPLICATES depends)
        list(SORT depends)
        string(REPLACE ";" ", " CPACK_DEBIAN_PACKAGE_DEPENDS "${depends}")
endif()
