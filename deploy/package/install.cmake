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

install(FILES README.md deploy/seccomp.md deploy/seccomp-default.json DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES deploy/10-skiff.conflist DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
# skiffd has the profile built in: a copy to change and load by its name.
install(FILES deploy/apparmor/skiff-default DESTINATION ${CMAKE_INSTALL_DATADIR}/skiff/apparmor)
