/* image.h - struct image inside the folder. Threads: any. */
#pragma once
#include "images/images.h"

struct image *image_copy(const struct image *from); /* deep, but for the config; the caller's */
