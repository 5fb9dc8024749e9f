#include "base/budget.h"

void budget_init(struct budget *budget, size_t bytes)
{
        atomic_init(&budget->left_bytes, bytes);
}

void share_init(struct share *share, struct budget *budget, size_t own_bytes)
{
        *share = (struct share){ .budget = budget, .own_bytes = own_bytes };
}

static size_t budget_take(struct budget *budget, size_t want_bytes)
{
        size_t left_bytes = atomic_load(&budget->left_bytes), got_bytes;
        do {
                got_bytes = want_bytes < left_bytes ? want_bytes : left_bytes;
        } while (got_bytes &&
                 !atomic_compare_exchange_weak(&budget->left_bytes, &left_bytes, left_bytes - got_bytes));
        return got_bytes;
}

size_t share_take(struct share *share, size_t want_bytes)
{
        size_t own_bytes = want_bytes < share->own_bytes ? want_bytes : share->own_bytes;
        size_t got_bytes = budget_take(share->budget, want_bytes - own_bytes);
        share->own_bytes -= own_bytes;
        share->taken_bytes += got_bytes;
        return own_bytes + got_bytes;
}

void share_done(struct share *share)
{
        if (share->budget)
                (void) atomic_fetch_add(&share->budget->left_bytes, share->taken_bytes);
        *share = (struct share){ 0 };
}
