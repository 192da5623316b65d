/* As libc.c. */
void *dlopen(void) { return 0; }
void *dlsym(void) { return 0; }
void *dlerror(void) { return 0; }
