/* What the parts of the first process share. */
#ifndef MK_TREE_H
#define MK_TREE_H
#include <sys/stat.h>

/* Says why there is no system, waits, and restarts the machine. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* Moves a file or link, whose owner and mode 'as' says. */
void move_file(const char *from, const char *to, const struct stat *as);

/* Moves a tree over another, file by file. */
void move_tree(const char *from, const char *to);

#endif
