/* Linked against in place of Android's C library when the NDK is not at hand: the names only. */
void *malloc(void) { return 0; }
void free(void) {}
void memcpy(void) {}
void memset(void) {}
void strlen(void) {}
void strcmp(void) {}
void snprintf(void) {}
