/* The little of a C library that the engines use, declared by hand: the same sources build with
 * the NDK, with gcc on a host, and with zig where Android's headers cannot be had. */
#pragma once
#include <stddef.h>
#include <stdint.h>

extern void *malloc(size_t);
extern void free(void *);
extern void *memcpy(void *, const void *, size_t);
extern void *memset(void *, int, size_t);
extern size_t strlen(const char *);
extern int strcmp(const char *, const char *);
extern int snprintf(char *, size_t, const char *, ...);
extern void *dlopen(const char *, int);
extern void *dlsym(void *, const char *);
extern char *dlerror(void);

#define LOAD_NOW 2 /* RTLD_NOW, the same on Linux and on 64-bit Android */
