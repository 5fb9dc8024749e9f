#include "cri/stream/token.h"
#include "base/utf8.h"
#include <string.h>

enum { MS_NS = 1000 * 1000 };

void token_free(struct token *token)
{
        if (!token)
                return;
        free(token->ports);
        free(token->subject);
        free(token);
}

static void drop_first(struct token_table *table, size_t n)
{
        for (size_t i = 0; i < n; i++)
                token_free(table->tokens[i]);
        table->n -= n;
        memmove(table->tokens, table->tokens + n, table->n * sizeof(struct token *));
}

void token_put(struct token_table *table, const struct control_message *message, const char *subject,
               int64_t now_ns)
{
        struct token *token = NEW(struct token);
        *token = (struct token){ .kind = message->kind,
                                 .streams = message->streams,
                                 .n_ports = message->n_ports,
                                 .subject = utf8_repair(subject, TOKEN_SUBJECT_MAX),
                                 .given_ns = now_ns };
        memcpy(token->text, message->token, sizeof(token->text));
        if (token->n_ports) {
                token->ports = NEW_ARRAY(uint16_t, token->n_ports);
                memcpy(token->ports, message->ports, token->n_ports * sizeof(token->ports[0]));
        }
        (void) token_expire(table, now_ns);
        if (table->n == LENGTH(table->tokens))
                drop_first(table, 1);
        table->tokens[table->n++] = token;
}

static bool is_same(const struct token *token, const char guess[CONTROL_TOKEN_CHARS])
{
        unsigned char differs = 0;
        for (size_t i = 0; i < CONTROL_TOKEN_CHARS; i++)
                differs |= (unsigned char) (token->text[i] ^ guess[i]);
        return differs == 0;
}

struct token *token_take(struct token_table *table, const char *text, int64_t now_ns)
{
        (void) token_expire(table, now_ns);
        if (strlen(text) != CONTROL_TOKEN_CHARS)
                return NULL;
        size_t found = table->n;
        for (size_t i = 0; i < table->n; i++)
                if (is_same(table->tokens[i], text))
                        found = i;
        if (found == table->n)
                return NULL;
        struct token *token = table->tokens[found];
        table->n--;
        memmove(table->tokens + found, table->tokens + found + 1,
                (table->n - found) * sizeof(struct token *));
        return token;
}

int64_t token_expire(struct token_table *table, int64_t now_ns)
{
        const int64_t life_ns = (int64_t) CONTROL_TOKEN_MS * MS_NS;
        size_t old = 0;
        while (old < table->n && table->tokens[old]->given_ns <= now_ns - life_ns)
                old++;
        drop_first(table, old);
        return table->n ? table->tokens[0]->given_ns + life_ns : 0;
}
