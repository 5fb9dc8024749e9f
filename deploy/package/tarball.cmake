# Run by cpack before each generator. The tarball is put together by a script of its own: it is for any node and any folder,
# and brings the libraries that the Debian package depends on.
if(CPACK_GENERATOR STREQUAL "TGZ")
        list(GET CPACK_INSTALL_CMAKE_PROJECTS 0 SKIFF_BUILD)
        set(CPACK_INSTALL_CMAKE_PROJECTS "")
        set(CPACK_PACKAGING_INSTALL_PREFIX /)
        set(CPACK_INSTALL_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/stage-tarball.cmake)
        set(CPACK_PACKAGE_FILE_NAME
                skiff-${CPACK_PACKAGE_VERSION}-linux-${CPACK_DEBIAN_PACKAGE_ARCHITECTURE})
endif()
