/*
 * Moving files from one file system to another, as rename(2) cannot: what a site put into its archive over the root.
 *
 * Source: ramfs-rootfs-initramfs.rst of the kernel: what the archive brought lies in memory until its file is removed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tree.h"

static int copy_file(int from, int to)
{
    char block[65536];

    for (;;) {
        ssize_t got = read(from, block, sizeof block);
        if (got <= 0)
            return got ? -1 : 0;
        for (ssize_t done = 0, put; done < got; done += put)
            if ((put = write(to, block + done, (size_t)(got - done))) < 0)
                return -1;
    }
}

void move_file(const char *from, const char *to, const struct stat *as)
{
    unlink(to);
    if (S_ISLNK(as->st_mode)) {
        char target[4096] = "";
        if (readlink(from, target, sizeof target - 1) < 0 || symlink(target, to) || lchown(to, as->st_uid, as->st_gid))
            fail("%s cannot be copied to %s (%m)", from, to);
    } else if (S_ISREG(as->st_mode)) {
        int source = open(from, O_RDONLY | O_CLOEXEC);
        int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (source < 0 || target < 0 || copy_file(source, target) || fchown(target, as->st_uid, as->st_gid) ||
            fchmod(target, as->st_mode & 07777))
            fail("%s cannot be copied to %s (%m)", from, to);
        close(source);
        close(target);
    } else {
        fail("%s is neither file, folder nor link", from);
    }
    unlink(from);
}

/* Moves a tree over another, file by file, so that no file is in memory twice for long. */
void move_tree(const char *from, const char *to)
{
    struct dirent **inside = NULL;
    int count = scandir(from, &inside, NULL, alphasort);
    char source[4096], target[4096];
    struct stat as;

    for (int i = 0; i < count; i++) {
        const char *name = inside[i]->d_name;
        if (!strcmp(name, ".") || !strcmp(name, ".."))
            continue;
        if (snprintf(source, sizeof source, "%s/%s", from, name) >= (int)sizeof source ||
            snprintf(target, sizeof target, "%s/%s", to, name) >= (int)sizeof target || lstat(source, &as))
            fail("%s/%s cannot be copied (%m)", from, name);
        if (!S_ISDIR(as.st_mode)) {
            move_file(source, target, &as);
            continue;
        }
        /* A folder that is there keeps its owner and rights, which are the system's. */
        if (!mkdir(target, 0700) && (chown(target, as.st_uid, as.st_gid) || chmod(target, as.st_mode & 07777)))
            fail("%s cannot be made (%m)", target);
        move_tree(source, target);
    }
    rmdir(from);
}
