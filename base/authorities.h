/* authorities.h - where a node keeps the certificates of the authorities that it trusts, as one PEM file.
 *
 * libcurl has the place of the distribution that it was built on; a program that is carried to another one has to look. */
#pragma once

/* Of Debian, Ubuntu and Arch, of Fedora and RHEL, of SUSE: the first that can be read counts. */
#define AUTHORITIES_PLACES                                                                                   \
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"
