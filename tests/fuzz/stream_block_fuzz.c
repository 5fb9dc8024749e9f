/* Name/value blocks that come uncompressed out of a client's compressor: the pairs alone. Each line of the input is a block. */
#include "cri/stream/header_block.h"
#include "cri/stream/spdy_dictionary.h"
#include <stdint.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        z_stream z = { 0 };
        uint8_t block[8192];
        char value[24];
        struct headers headers = { 0 };
        if (len_bytes > 4096 || deflateInit(&z, 1) != Z_OK)
                return 0;
        (void) deflateSetDictionary(&z, (const Bytef *) spdy_dictionary, SPDY_DICTIONARY_BYTES);
        z.next_in = (Bytef *) (void *) bytes;
        z.avail_in = (uInt) len_bytes;
        z.next_out = block;
        z.avail_out = sizeof(block);
        (void) deflate(&z, Z_SYNC_FLUSH);
        struct header_reader *reader = header_reader_new();
        struct error *e = header_block_read(reader, block, sizeof(block) - z.avail_out, &headers);
        if (!e) {
                (void) headers_get(&headers, "streamtype", value, sizeof(value));
                (void) headers_get(&headers, "port", value, 1);
        }
        headers_done(&headers);
        error_free(e);
        header_reader_free(reader);
        (void) deflateEnd(&z);
        return 0;
}
