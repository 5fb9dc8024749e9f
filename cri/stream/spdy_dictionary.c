#include "cri/stream/spdy_dictionary.h"

/* A name of the dictionary: its length in four bytes, then itself. */
#define NAME(length, name) "\0\0\0" length name

const char spdy_dictionary[SPDY_DICTIONARY_BYTES + 1] =
        /* clang-format off */
        NAME("\7", "options") NAME("\4", "head") NAME("\4", "post") NAME("\3", "put") NAME("\6", "delete")
        NAME("\5", "trace") NAME("\6", "accept") NAME("\16", "accept-charset")
        NAME("\17", "accept-encoding") NAME("\17", "accept-language") NAME("\15", "accept-ranges")
        NAME("\3", "age") NAME("\5", "allow") NAME("\15", "authorization") NAME("\15", "cache-control")
        NAME("\12", "connection") NAME("\14", "content-base") NAME("\20", "content-encoding")
        NAME("\20", "content-language") NAME("\16", "content-length") NAME("\20", "content-location")
        NAME("\13", "content-md5") NAME("\15", "content-range") NAME("\14", "content-type")
        NAME("\4", "date") NAME("\4", "etag") NAME("\6", "expect") NAME("\7", "expires") NAME("\4", "from")
        NAME("\4", "host") NAME("\10", "if-match") NAME("\21", "if-modified-since")
        NAME("\15", "if-none-match") NAME("\10", "if-range") NAME("\23", "if-unmodified-since")
        NAME("\15", "last-modified") NAME("\10", "location") NAME("\14", "max-forwards")
        NAME("\6", "pragma") NAME("\22", "proxy-authenticate") NAME("\23", "proxy-authorization")
        NAME("\5", "range") NAME("\7", "referer") NAME("\13", "retry-after") NAME("\6", "server")
        NAME("\2", "te") NAME("\7", "trailer") NAME("\21", "transfer-encoding") NAME("\7", "upgrade")
        NAME("\12", "user-agent") NAME("\4", "vary") NAME("\3", "via") NAME("\7", "warning")
        NAME("\20", "www-authenticate") NAME("\6", "method") NAME("\3", "get") NAME("\6", "status")
        NAME("\6", "200 OK") NAME("\7", "version") NAME("\10", "HTTP/1.1") NAME("\3", "url")
        NAME("\6", "public") NAME("\12", "set-cookie") NAME("\12", "keep-alive") NAME("\6", "origin")
        "10010120120220520630030230330430530630740240540640740840941041141241341441541641750250450520"
        "3 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unautho"
        "rized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unava"
        "ilableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat"
        ", Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+"
        "xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=is"
        "o-8859-1,utf-,*,enq=0.";
/* clang-format on */
