#include "images/catalog.h"
#include "base/fault.h"
#include "images/config.h"
#include "images/image.h"
#include "images/reference.h"
#include "images/strings.h"
#include <pthread.h>
#include <string.h>

static const char *const migrations[] = {
        "CREATE TABLE images (id TEXT PRIMARY KEY, config TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE names (name TEXT PRIMARY KEY, is_digest INTEGER NOT NULL,"
        "  image TEXT NOT NULL REFERENCES images ON DELETE CASCADE) WITHOUT ROWID;"
        "CREATE INDEX names_of_image ON names (image);"
        "CREATE TABLE layers (diff_id TEXT PRIMARY KEY, form TEXT NOT NULL, bytes INTEGER NOT NULL,"
        "  inodes INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE image_layers (image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,"
        "  position INTEGER NOT NULL, diff_id TEXT NOT NULL REFERENCES layers,"
        "  PRIMARY KEY (image, position)) WITHOUT ROWID;"
        "CREATE INDEX images_of_layer ON image_layers (diff_id);",
        /* a layer that is on top of the image's own (seams.h), or '' */
        "ALTER TABLE images ADD COLUMN seam TEXT NOT NULL DEFAULT '';",
        NULL,
};

/* Smaller configs are kept in memory, as those of nearly all images are: a container's creation wants its image's. */
#define CONFIG_KEPT_BYTES ((size_t) 16 << 10)

struct list {
        struct image **images; /* sorted by id; config_json is NULL of those that are not kept */
        size_t n;
};

struct catalog {
        struct db *db;
        struct layers *layers;
        char **pinned;               /* whole names */
        pthread_mutex_t change_lock; /* held through a change; taken before lock */
        pthread_mutex_t lock;        /* of list; never held across a database call */
        struct list list;
};

/* --- reading the database into memory --- */

static struct image *list_find(const struct list *list, const char *id)
{
        for (size_t low = 0, high = list->n; low < high;) {
                size_t middle = (low + high) / 2;
                int order = strcmp(id, list->images[middle]->id);
                if (order == 0)
                        return list->images[middle];
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        return NULL;
}

static struct error *read_config(void *context, const struct db_row *row)
{
        *(char **) context = dup_string(db_row_text(row, 0));
        return NULL;
}

/* *out is NULL where there is no such image. */
static struct error *load_config(struct db *db, const char *id, char **out)
{
        const struct db_value values[] = { db_text(id) };
        *out = NULL;
        return db_run(db, "SELECT config FROM images WHERE id = ?", values, LENGTH(values), read_config, out);
}

struct reading {
        struct list list;
        const struct list *before; /* a config never changes: its digest is the id */
};

static struct error *read_id(void *context, const struct db_row *row)
{
        struct reading *reading = context;
        const struct image *same = list_find(reading->before, db_row_text(row, 0));
        struct image *image = NEW(struct image);
        image->id = dup_string(db_row_text(row, 0));
        image->repo_tags = strings_empty();
        image->repo_digests = strings_empty();
        image->diff_ids = strings_empty();
        image->size_bytes = (uint64_t) db_row_integer(row, 1);
        if (*db_row_text(row, 2))
                image->seam = dup_string(db_row_text(row, 2));
        image->user = dup_string(same ? same->user : NULL);
        image->config_json = dup_string(same ? same->config_json : NULL);
        reading->list.images = grow_array(reading->list.images, reading->list.n + 1, sizeof(struct image *));
        reading->list.images[reading->list.n++] = image;
        return NULL;
}

/* Of an image that is new here. */
static struct error *take_config(struct catalog *catalog, struct image *image)
{
        _cleanup_(image_config_done) struct image_config config = { .user = NULL };
        _cleanup_(free_stringsp) char **diff_ids = NULL;
        _cleanup_(freep) char *json = NULL;
        TRY(load_config(catalog->db, image->id, &json));
        if (!json)
                return error_new(ERROR_INTERNAL, "image %s has no config", image->id);
        /* It was taken once; what an older skiff took and this one would not must not end the whole store. */
        error_ignore(config_parse(json, strlen(json), &config, &diff_ids));
        image->user = dup_string(config.user ? config.user : "");
        if (strlen(json) <= CONFIG_KEPT_BYTES)
                image->config_json = TAKE(json);
        return NULL;
}

static struct error *read_name(void *context, const struct db_row *row)
{
        struct image *image = list_find(context, db_row_text(row, 2));
        if (image)
                strings_add(db_row_integer(row, 1) ? &image->repo_digests : &image->repo_tags,
                            db_row_text(row, 0));
        return NULL;
}

static struct error *read_layer_of(void *context, const struct db_row *row)
{
        struct image *image = list_find(context, db_row_text(row, 0));
        if (!image)
                return NULL;
        if (!strings_contain(image->diff_ids, db_row_text(row, 1)))
                image->size_bytes += (uint64_t) db_row_integer(row, 2);
        strings_add(&image->diff_ids, db_row_text(row, 1));
        return NULL;
}

static void list_done(struct list *list)
{
        image_list_free(list->images, list->n);
}

/* A pinned image is one of whose names, or whose id, the configuration names. */
static void mark_pinned(struct catalog *catalog, struct list *list)
{
        for (size_t i = 0; i < list->n; i++) {
                struct image *image = list->images[i];
                image->pinned = strings_contain(catalog->pinned, image->id);
                for (char **pinned = catalog->pinned; *pinned; pinned++)
                        image->pinned |= strings_contain(image->repo_tags, *pinned) ||
                                         strings_contain(image->repo_digests, *pinned);
        }
}

/* Reads all of it and puts it in place of what was there. Nobody else changes the list meanwhile: change_lock. */
static struct error *reload(struct catalog *catalog)
{
        _cleanup_(list_done) struct list list = { NULL, 0 };
        struct reading reading = { .before = &catalog->list };
        struct error *e =
                db_run(catalog->db, "SELECT id, length(CAST(config AS BLOB)), seam FROM images ORDER BY id",
                       NULL, 0, read_id, &reading);
        list = reading.list;
        TRY(e);
        for (size_t i = 0; i < list.n; i++)
                if (!list.images[i]->user)
                        TRY(take_config(catalog, list.images[i]));
        TRY(db_run(catalog->db, "SELECT name, is_digest, image FROM names ORDER BY name", NULL, 0, read_name,
                   &list));
        TRY(db_run(catalog->db,
                   "SELECT image, diff_id, bytes FROM image_layers JOIN layers USING (diff_id)"
                   " ORDER BY image, position",
                   NULL, 0, read_layer_of, &list));
        mark_pinned(catalog, &list);
        (void) pthread_mutex_lock(&catalog->lock);
        struct list old = catalog->list;
        catalog->list = list;
        list = old;
        layers_count_reset(catalog->layers);
        for (size_t i = 0; i < catalog->list.n; i++) {
                for (char **diff_id = catalog->list.images[i]->diff_ids; *diff_id; diff_id++)
                        layers_count_add(catalog->layers, *diff_id);
                if (catalog->list.images[i]->seam)
                        layers_count_add(catalog->layers, catalog->list.images[i]->seam);
        }
        (void) pthread_mutex_unlock(&catalog->lock);
        return NULL;
}

struct lost_layers {
        struct layers *layers;
        char **lost;
};

static struct error *read_layer(void *context, const struct db_row *row)
{
        struct lost_layers *to = context;
        if (!layers_add(to->layers, db_row_text(row, 0), db_row_text(row, 1),
                        (uint64_t) db_row_integer(row, 2), (uint64_t) db_row_integer(row, 3)))
                strings_add(&to->lost, db_row_text(row, 0));
        return NULL;
}

static struct error *forget_lost(struct db *db, void *lost)
{
        for (char **diff_id = lost; *diff_id; diff_id++) {
                TRY(db_do(db,
                          "DELETE FROM images WHERE id IN (SELECT image FROM image_layers WHERE diff_id = ?)",
                          db_text(*diff_id)));
                TRY(db_do(db, "DELETE FROM images WHERE seam = ?", db_text(*diff_id)));
                TRY(db_do(db, "DELETE FROM layers WHERE diff_id = ?", db_text(*diff_id)));
        }
        return NULL;
}

static struct error *load_layers(struct catalog *catalog)
{
        struct lost_layers to = { catalog->layers, strings_empty() };
        struct error *e = db_run(catalog->db, "SELECT diff_id, form, bytes, inodes FROM layers", NULL, 0,
                                 read_layer, &to);
        if (!e && *to.lost)
                e = db_transaction(catalog->db, forget_lost, to.lost);
        free_strings(to.lost);
        return e;
}

static struct error *read_pinned(const char *const *pinned, char ***out)
{
        _cleanup_(free_stringsp) char **names = strings_empty();
        for (; pinned && *pinned; pinned++) {
                const char *hex = NULL;
                _cleanup_(reference_freep) struct reference *reference = NULL;
                if (reference_is_id(*pinned, &hex) && strlen(hex) == 64) {
                        _cleanup_(freep) char *id = format_string("sha256:%s", hex);
                        strings_add(&names, id);
                        continue;
                }
                TRY_WRAP(reference_parse(*pinned, &reference), "pinned image");
                _cleanup_(freep) char *name = reference_name(reference);
                strings_add(&names, name);
        }
        *out = TAKE(names);
        return NULL;
}

struct error *catalog_open(const char *path, struct layers *layers, const char *const *pinned,
                           struct catalog **out)
{
        _cleanup_(catalog_freep) struct catalog *catalog = NEW(struct catalog);
        catalog->layers = layers;
        (void) pthread_mutex_init(&catalog->lock, NULL);
        (void) pthread_mutex_init(&catalog->change_lock, NULL);
        TRY(read_pinned(pinned, &catalog->pinned));
        TRY(db_open(path, DB_FULL, migrations, &catalog->db));
        TRY(load_layers(catalog));
        TRY(reload(catalog));
        *out = TAKE(catalog);
        return NULL;
}

struct error *catalog_repin(struct catalog *catalog, const char *const *pinned)
{
        _cleanup_(free_stringsp) char **names = NULL;
        TRY(read_pinned(pinned, &names));
        (void) pthread_mutex_lock(&catalog->change_lock);
        (void) pthread_mutex_lock(&catalog->lock);
        char **old = catalog->pinned;
        catalog->pinned = names;
        names = old;
        mark_pinned(catalog, &catalog->list);
        (void) pthread_mutex_unlock(&catalog->lock);
        (void) pthread_mutex_unlock(&catalog->change_lock);
        return NULL;
}

void catalog_free(struct catalog *catalog)
{
        if (!catalog)
                return;
        db_free(catalog->db);
        list_done(&catalog->list);
        free_strings(catalog->pinned);
        (void) pthread_mutex_destroy(&catalog->lock);
        (void) pthread_mutex_destroy(&catalog->change_lock);
        free(catalog);
}

/* --- looking up --- */

static const struct image *find_by_hex(const struct list *list, const char *hex)
{
        const struct image *found = NULL;
        size_t len_bytes = strlen(hex);
        for (size_t i = 0; i < list->n; i++) {
                if (strncmp(list->images[i]->id + strlen("sha256:"), hex, len_bytes) != 0)
                        continue;
                if (found)
                        return NULL; /* ambiguous */
                found = list->images[i];
        }
        return found;
}

static const struct image *find_by_name(const struct list *list, const char *name)
{
        for (size_t i = 0; i < list->n; i++)
                if (strings_contain(list->images[i]->repo_tags, name) ||
                    strings_contain(list->images[i]->repo_digests, name))
                        return list->images[i];
        return NULL;
}

/* With the lock held. *name is the whole name that matched, or NULL where it was an id; the caller's. */
static struct error *lookup(struct catalog *catalog, const char *text, const struct image **out, char **name)
{
        const char *hex = NULL;
        *out = NULL;
        *name = NULL;
        if (reference_is_id(text, &hex)) {
                *out = find_by_hex(&catalog->list, hex);
                if (*out || strlen(hex) == 64 || strncmp(text, "sha256:", 7) == 0)
                        return NULL;
        }
        _cleanup_(reference_freep) struct reference *reference = NULL;
        TRY(reference_parse(text, &reference));
        *name = reference_name(reference);
        *out = find_by_name(&catalog->list, *name);
        return NULL;
}

struct error *catalog_find(struct catalog *catalog, const char *reference, struct image **out)
{
        const struct image *found = NULL;
        _cleanup_(freep) char *name = NULL;
        (void) pthread_mutex_lock(&catalog->lock);
        struct error *e = lookup(catalog, reference, &found, &name);
        _cleanup_(image_freep) struct image *copy = found ? image_copy(found) : NULL;
        if (copy)
                copy->config_json = dup_string(found->config_json);
        (void) pthread_mutex_unlock(&catalog->lock);
        TRY(e);
        if (copy && !copy->config_json)
                TRY(load_config(catalog->db, copy->id, &copy->config_json));
        if (!copy || !copy->config_json) /* or it was removed meanwhile */
                return error_new(ERROR_NOT_FOUND, "image \"%s\" is not here", reference);
        *out = TAKE(copy);
        return NULL;
}

void catalog_list(struct catalog *catalog, struct image ***out, size_t *n)
{
        (void) pthread_mutex_lock(&catalog->lock);
        *n = catalog->list.n;
        *out = NEW_ARRAY(struct image *, *n);
        for (size_t i = 0; i < *n; i++)
                (*out)[i] = image_copy(catalog->list.images[i]);
        (void) pthread_mutex_unlock(&catalog->lock);
}

static bool is_of_repository(char *const *names, const char *repository)
{
        size_t n = strlen(repository);
        for (; *names; names++)
                if (strncmp(*names, repository, n) == 0 && ((*names)[n] == ':' || (*names)[n] == '@'))
                        return true;
        return false;
}

/* Whether text says neither tag nor digest: then the name that it is read as has one more than it. */
static struct error *repository_of(const char *text, char **out)
{
        const char *slash = strrchr(text, '/'), *last = slash ? slash + 1 : text;
        _cleanup_(reference_freep) struct reference *reference = NULL;
        *out = NULL;
        if (strpbrk(last, ":@"))
                return NULL;
        TRY(reference_parse(text, &reference));
        *out = reference_repository(reference);
        return NULL;
}

struct error *catalog_select(struct catalog *catalog, const char *text, struct image ***out, size_t *n)
{
        const struct image *found = NULL;
        _cleanup_(freep) char *name = NULL, *repository = NULL;
        TRY(repository_of(text, &repository));
        (void) pthread_mutex_lock(&catalog->lock);
        struct error *e = lookup(catalog, text, &found, &name);
        struct image **list = NEW_ARRAY(struct image *, catalog->list.n);
        size_t count = 0;
        for (size_t i = 0; i < catalog->list.n && !e; i++) {
                const struct image *image = catalog->list.images[i];
                if (image == found || (repository && (is_of_repository(image->repo_tags, repository) ||
                                                      is_of_repository(image->repo_digests, repository))))
                        list[count++] = image_copy(image);
        }
        (void) pthread_mutex_unlock(&catalog->lock);
        if (e) {
                free(list);
                return e;
        }
        *out = list;
        *n = count;
        return NULL;
}

bool catalog_has(struct catalog *catalog, const struct catalog_image *wanted)
{
        bool all;
        (void) pthread_mutex_lock(&catalog->lock);
        const struct image *image = list_find(&catalog->list, wanted->id);
        all = image != NULL;
        for (char *const *tag = wanted->tags; tag && *tag && all; tag++)
                all = strings_contain(image->repo_tags, *tag);
        for (char *const *digest = wanted->digests; digest && *digest && all; digest++)
                all = strings_contain(image->repo_digests, *digest);
        (void) pthread_mutex_unlock(&catalog->lock);
        return all;
}

static struct error *pin_all(struct catalog *catalog, const struct image *image, struct layer **layers,
                             size_t *n)
{
        for (char **diff_id = image->diff_ids; *diff_id; diff_id++) {
                TRY(layers_pin(catalog->layers, *diff_id, &layers[*n]));
                ++*n;
        }
        if (!image->seam)
                return NULL;
        TRY(layers_pin(catalog->layers, image->seam, &layers[*n]));
        ++*n;
        return NULL;
}

struct error *catalog_pin_layers(struct catalog *catalog, const char *id, struct layer ***out, size_t *n)
{
        struct error *e = NULL;
        struct layer **layers = NULL;
        size_t count = 0;
        (void) pthread_mutex_lock(&catalog->lock);
        const struct image *image = list_find(&catalog->list, id);
        if (image) {
                layers = NEW_ARRAY(struct layer *, strings_length(image->diff_ids) + 2);
                e = pin_all(catalog, image, layers, &count);
        } else {
                e = error_new(ERROR_NOT_FOUND, "image \"%s\" is not here", id);
        }
        (void) pthread_mutex_unlock(&catalog->lock);
        if (e) {
                for (size_t i = 0; i < count; i++)
                        layers_unpin(catalog->layers, layers[i]);
                free(layers);
                return e;
        }
        *out = layers;
        *n = count;
        return NULL;
}

/* --- changing --- */

static struct error *put_names(struct db *db, const char *id, char *const *names, bool is_digest)
{
        for (; names && *names; names++)
                TRY(db_do(db,
                          "INSERT INTO names (name, is_digest, image) VALUES (?, ?, ?)"
                          " ON CONFLICT (name) DO UPDATE SET image = excluded.image",
                          db_text(*names), DB_INT(is_digest), db_text(id)));
        return NULL;
}

static struct error *put_layer(struct db *db, const struct layer *layer)
{
        uint64_t bytes, inodes;
        layer_usage(layer, &bytes, &inodes);
        return db_do(db, "INSERT OR IGNORE INTO layers (diff_id, form, bytes, inodes) VALUES (?, ?, ?, ?)",
                     db_text(layer_diff_id(layer)), db_text(layer_form_name(layer)), DB_INT(bytes),
                     DB_INT(inodes));
}

static struct error *put_image(struct db *db, const struct catalog_image *image)
{
        TRY(db_do(db,
                  "INSERT INTO images (id, config, seam) VALUES (?, ?, ?)"
                  " ON CONFLICT (id) DO UPDATE SET seam = excluded.seam",
                  db_text(image->id),
                  (struct db_value){ DB_TEXT, 0, image->config_json, image->config_bytes },
                  db_text(image->seam ? layer_diff_id(image->seam) : "")));
        if (image->seam)
                TRY(put_layer(db, image->seam));
        for (size_t i = 0; i < image->n_layers; i++) {
                TRY(put_layer(db, image->layers[i]));
                TRY(db_do(db,
                          "INSERT OR IGNORE INTO image_layers (image, position, diff_id) VALUES (?, ?, ?)",
                          db_text(image->id), DB_INT(i), db_text(layer_diff_id(image->layers[i]))));
        }
        TRY(put_names(db, image->id, image->tags, false));
        return put_names(db, image->id, image->digests, true);
}

struct commit {
        const struct catalog_image *images;
        size_t n;
};

static struct error *commit_body(struct db *db, void *context)
{
        const struct commit *commit = context;
        for (size_t i = 0; i < commit->n; i++)
                TRY(put_image(db, &commit->images[i]));
        return NULL;
}

static struct error *commit_locked(struct catalog *catalog, struct commit *commit)
{
        TRY(fault_point("image.commit.before"));
        TRY(db_transaction(catalog->db, commit_body, commit));
        TRY(fault_point("image.commit.after"));
        return reload(catalog);
}

struct error *catalog_commit(struct catalog *catalog, const struct catalog_image *images, size_t n)
{
        struct commit commit = { images, n };
        (void) pthread_mutex_lock(&catalog->change_lock);
        struct error *e = commit_locked(catalog, &commit);
        (void) pthread_mutex_unlock(&catalog->change_lock);
        return e;
}

struct removal {
        char *id;     /* of the image */
        char **names; /* to remove of it; NULL: all, and the image */
};

static struct error *removal_body(struct db *db, void *context)
{
        const struct removal *removal = context;
        for (char **name = removal->names; name && *name; name++)
                TRY(db_do(db, "DELETE FROM names WHERE name = ? AND image = ?", db_text(*name),
                          db_text(removal->id)));
        if (!removal->names)
                return db_do(db, "DELETE FROM images WHERE id = ?", db_text(removal->id));
        return db_do(db,
                     "DELETE FROM images WHERE id = ? AND NOT EXISTS (SELECT 1 FROM names WHERE image = ?)",
                     db_text(removal->id), db_text(removal->id));
}

/* The name, and with the last tag of a repository that repository's digests too: they came with the tag, and nobody could
 * name them to remove them. */
static void names_to_remove(const struct image *image, const char *name, char ***out)
{
        const char *end = strrchr(name, ':');
        size_t n_bytes = (size_t) (end - name);
        *out = strings_empty();
        strings_add(out, name);
        if (strchr(name, '@'))
                return;
        for (char **tag = image->repo_tags; *tag; tag++)
                if (strcmp(*tag, name) != 0 && strncmp(*tag, name, n_bytes + 1) == 0)
                        return;
        for (char **digest = image->repo_digests; *digest; digest++)
                if (strncmp(*digest, name, n_bytes) == 0 && (*digest)[n_bytes] == '@')
                        strings_add(out, *digest);
}

static struct error *remove_locked(struct catalog *catalog, const char *reference)
{
        struct removal removal = { NULL, NULL };
        const struct image *image = NULL;
        _cleanup_(freep) char *name = NULL, *id = NULL;
        _cleanup_(free_stringsp) char **names = NULL;
        (void) pthread_mutex_lock(&catalog->lock);
        struct error *e = lookup(catalog, reference, &image, &name);
        if (image) {
                id = dup_string(image->id);
                if (name)
                        names_to_remove(image, name, &names);
        }
        (void) pthread_mutex_unlock(&catalog->lock);
        if (e || !image)
                return e;
        removal.id = id;
        removal.names = names;
        TRY(fault_point("image.remove.before"));
        TRY(db_transaction(catalog->db, removal_body, &removal));
        TRY(fault_point("image.remove.after"));
        return reload(catalog);
}

struct error *catalog_remove(struct catalog *catalog, const char *reference)
{
        (void) pthread_mutex_lock(&catalog->change_lock);
        struct error *e = remove_locked(catalog, reference);
        (void) pthread_mutex_unlock(&catalog->change_lock);
        return e;
}

static struct error *forget_body(struct db *db, void *context)
{
        for (const char *const *diff_id = context; *diff_id; diff_id++)
                TRY(db_do(db, "DELETE FROM layers WHERE diff_id = ?", db_text(*diff_id)));
        return NULL;
}

/* One transaction: each waits for the disk. */
static struct error *forget_layers(void *context, const char *const *diff_ids)
{
        struct catalog *catalog = context;
        return db_transaction(catalog->db, forget_body, (void *) (uintptr_t) diff_ids);
}

struct error *catalog_collect(struct catalog *catalog)
{
        (void) pthread_mutex_lock(&catalog->change_lock);
        struct error *e = layers_collect(catalog->layers, forget_layers, catalog);
        (void) pthread_mutex_unlock(&catalog->change_lock);
        return e;
}

struct error *catalog_checkpoint(struct catalog *catalog)
{
        return db_checkpoint(catalog->db);
}
