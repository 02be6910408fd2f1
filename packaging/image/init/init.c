/*
 * The first process: puts the root together from layers and hands over to systemd.
 *
 *     /modules/NN-NAME.ko.xz      loaded in the order of their names: what a layer needs to be mounted
 *     /layers/NN-NAME.squashfs    file systems, the highest number on top; below all of them the system itself
 *     /site/...                   copied over the root (a site's own files, from an archive appended to the initrd)
 *     /.extra/credentials/NAME.cred  what systemd-stub found beside a unified kernel image: handed to systemd
 *
 * Each layer stays compressed in memory and is mounted from there; what is written goes to a tmpfs of at most half the
 * memory. Whatever fails is said in one line on every console, and the machine restarts after a minute.
 *
 * With --layers DIR it does the same for layers that lie elsewhere: a first stage fetches them, then runs this.
 *
 * Sources: the kernel's Documentation/filesystems/{ramfs-rootfs-initramfs,overlayfs}.rst and
 * Documentation/admin-guide/LSM/index.rst (lockdown); loop(4); systemd-stub(7); systemd.system-credentials(7), and for
 * /run/credentials/@initrd systemd's docs/CREDENTIALS.md.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/module.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/types.h>
#include <unistd.h>

#include "tree.h"

#define SYSTEM "/usr/lib/systemd/systemd"
#define WAIT_S 60
#define MAX_LAYERS 32

/* Names of a folder's files that end in a suffix, sorted. */
struct names {
    struct dirent **entries;
    int count;
};

static const char *wanted_suffix;

static void say(int priority, const char *format, ...)
{
    char text[512], line[560];
    va_list words;

    va_start(words, format);
    vsnprintf(text, sizeof text, format, words);
    va_end(words);
    int length = snprintf(line, sizeof line, "<%d>mk: %s\n", priority, text);
    int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
    /* The kernel's log goes to every console; before /dev is there, the kernel's own console is what there is. */
    if (log < 0 || write(log, line, (size_t)length) != length)
        dprintf(STDERR_FILENO, "mk: %s\n", text);
    if (log >= 0)
        close(log);
}

/* Says why there is no system, and has the firmware try again: nobody stands beside a machine in a hall. */
void fail(const char *format, ...)
{
    char text[448];
    va_list words;

    va_start(words, format);
    vsnprintf(text, sizeof text, format, words);
    va_end(words);
    say(2, "cannot start: %s; restarting in %d s", text, WAIT_S);
    sync();
    for (unsigned left = WAIT_S; left;)
        left = sleep(left);
    reboot(RB_AUTOBOOT);
    _exit(1);
}

static int has_suffix(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name), end = strlen(wanted_suffix);
    return entry->d_name[0] != '.' && length > end && !strcmp(entry->d_name + length - end, wanted_suffix);
}

static struct names list(const char *folder, const char *suffix)
{
    struct names found;

    wanted_suffix = suffix;
    found.count = scandir(folder, &found.entries, has_suffix, alphasort);
    if (found.count < 0)
        found.count = 0;
    return found;
}

static void make_folder(const char *path, mode_t mode)
{
    if (mkdir(path, mode) && errno != EEXIST)
        fail("%s cannot be made (%m)", path);
}

static void mount_at(const char *kind, const char *place, unsigned long flags, const char *options)
{
    make_folder(place, 0755);
    /* The kernel or a first stage may have mounted it. */
    if (mount(kind, place, kind, flags, options) && errno != EBUSY)
        fail("%s cannot be mounted at %s (%m)", kind, place);
}

/* This system lives in memory, and by pages of 2 MB each Python process would hold one or two that it never uses: they
 * are for who asks (Documentation/admin-guide/mm/transhuge.rst). Not of tmpfiles.d: a container's /sys is its host's. */
static void spare_memory(void)
{
    static const char mode[] = "madvise";
    int file = open("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY | O_CLOEXEC);

    if (file < 0)
        return;
    if (write(file, mode, sizeof mode - 1) < 0)
        say(3, "memory stays given by large pages (%m)");
    close(file);
}

static void load_modules(const char *folder)
{
    struct names files = list(folder, ".ko.xz");
    char path[512];

    for (int i = 0; i < files.count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files.entries[i]->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || (syscall(SYS_finit_module, file, "", MODULE_INIT_COMPRESSED_FILE) && errno != EEXIST))
            fail("the kernel does not take its module %s (%m)", path);
        close(file);
        unlink(path);
    }
    rmdir(folder);
}

/* Says why a layer cannot be mounted. Of an archive that does not fit into memory the kernel unpacks a part and goes on: a file that
 * has less than its file system, or whose end is a hole, is the mark of that. Source: the kernel's init/initramfs.c (do_name gives a
 * file its length before its content) and fs/squashfs/squashfs_fs.h (struct squashfs_super_block). */
static void fail_layer(const char *file, int backing)
{
    struct {
        char magic[4], between[36];
        unsigned long long size;
    } head;
    struct sysinfo memory;
    struct stat as = {0};
    int reason = errno;
    int known = !fstat(backing, &as) && !sysinfo(&memory);
    long long there = as.st_blocks * 512LL < as.st_size ? as.st_blocks * 512LL : as.st_size;

    if (known && pread(backing, &head, sizeof head, 0) == sizeof head && !memcmp(head.magic, "hsqs", 4) &&
        there < (long long)head.size)
        fail("%s ends after %lld of %lld kB: the memory of %llu MB is too small, or the download broke off", file, there / 1000,
             (long long)head.size / 1000, (unsigned long long)memory.totalram * memory.mem_unit / 1000000);
    errno = reason;
    fail("%s is broken, or no squashfs that this kernel knows (%m)", file);
}

/* Mounts one file read-only. Its name goes, its content stays for as long as it is mounted. */
static void mount_layer(const char *file, const char *place)
{
    struct loop_config config = {.info = {.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR}};
    char device[32];

    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        fail("there are no loop devices (%m)");
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    close(control);
    if (number < 0)
        fail("there is no free loop device (%m)");
    snprintf(device, sizeof device, "/dev/loop%d", number);
    int loop = open(device, O_RDWR | O_CLOEXEC), backing = open(file, O_RDONLY | O_CLOEXEC);
    if (backing < 0)
        fail("%s cannot be read (%m)", file);
    config.fd = (unsigned)backing;
    strncpy((char *)config.info.lo_file_name, file, LO_NAME_SIZE - 1);
    if (loop < 0 || ioctl(loop, LOOP_CONFIGURE, &config))
        fail("%s cannot be used for %s (%m)", device, file);
    make_folder(place, 0755);
    if (mount(device, place, "squashfs", MS_RDONLY, NULL))
        fail_layer(file, backing);
    close(loop);
    close(backing);
    unlink(file);
}

/* Mounts all layers of a folder, and over them the root at /root. */
static void mount_root(const char *folder)
{
    struct names files = list(folder, ".squashfs");
    char path[512], place[32], options[MAX_LAYERS * 24 + 128], lower[MAX_LAYERS * 24] = "";

    if (!files.count)
        fail("%s holds no layer (a file NAME.squashfs)", folder);
    if (files.count > MAX_LAYERS)
        fail("%s holds %d layers; %d is the most", folder, files.count, MAX_LAYERS);
    make_folder("/lower", 0755);
    for (int i = files.count - 1; i >= 0; i--) {
        snprintf(path, sizeof path, "%s/%s", folder, files.entries[i]->d_name);
        snprintf(place, sizeof place, "/lower/%d", i);
        mount_layer(path, place);
        snprintf(lower + strlen(lower), sizeof lower - strlen(lower), "%s%s", *lower ? ":" : "", place);
    }
    mount_at("tmpfs", "/upper", 0, "mode=0755,size=50%");
    make_folder("/upper/root", 0755);
    make_folder("/upper/work", 0755);
    make_folder("/root", 0755);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=/upper/root,workdir=/upper/work", lower);
    if (mount("overlay", "/root", "overlay", 0, options))
        fail("the layers cannot be laid over each other (%m)");
}

/* Whether the kernel trusts nothing but what is signed: then neither may we take what lay beside a signed image. Where
 * it cannot be asked, it may. */
static int is_locked_down(void)
{
    char state[128] = "";
    int file;

    if (mount("securityfs", "/sys/kernel/security", "securityfs", 0, NULL) && errno != EBUSY)
        return 1;
    file = open("/sys/kernel/security/lockdown", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, state, sizeof state - 1) < 0)
            *state = '?';
        close(file);
    }
    umount("/sys/kernel/security");
    return *state && !strstr(state, "[none]");
}

/* Hands credentials over that lie beside a unified kernel image. systemd itself only looks for them in an initrd. */
static void hand_over(const char *folder)
{
    struct names files = list(folder, ".cred");
    char from[512], to[512];
    struct stat as;

    if (!files.count)
        return;
    if (is_locked_down()) {
        say(3, "%s: ignored, since Secure Boot may be on and nothing has signed them", folder);
        return;
    }
    make_folder("/root/run/credentials", 0755);
    make_folder("/root/run/credentials/@initrd", 0700);
    for (int i = 0; i < files.count; i++) {
        const char *name = files.entries[i]->d_name;
        snprintf(from, sizeof from, "%s/%s", folder, name);
        snprintf(to, sizeof to, "/root/run/credentials/@initrd/%.*s", (int)(strlen(name) - strlen(".cred")), name);
        if (!lstat(from, &as) && S_ISREG(as.st_mode)) {
            as.st_mode = S_IFREG | 0400;
            move_file(from, to, &as);
        }
    }
}

/* Says which image this is, in the words of the originals (protocol 1.5, step 16): "MK Loaded: v0.1.0+4-g104a9bc". At
 * priority 3: `quiet` on the kernel line hides all that is less from the consoles. */
static void say_version(void)
{
    char text[128] = "", version[100];
    int file = open("/root/etc/mk-version.yaml", O_RDONLY | O_CLOEXEC);

    if (file >= 0 && read(file, text, sizeof text - 1) > 0 && sscanf(text, "mk_version: %99s", version) == 1)
        say(3, "MK Loaded: v%s", version);
    if (file >= 0)
        close(file);
}

static void switch_root(void)
{
    static const char *const kept[] = {"/dev", "/proc", "/sys"};
    char place[16];

    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        snprintf(place, sizeof place, "/root%s", kept[i]);
        if (mount(kept[i], place, NULL, MS_MOVE, NULL))
            fail("%s cannot be moved (%m)", kept[i]);
    }
    if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
        fail("the root cannot be changed (%m)");
}

int main(int argc, char **argv)
{
    const char *layers = "/layers";

    if (argc == 3 && !strcmp(argv[1], "--layers")) {
        layers = argv[2];
        argc = 1;
        argv[1] = NULL;
    }
    umask(0);
    mount_at("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
    mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    spare_memory();
    load_modules("/modules");
    mount_root(layers);
    mount_at("tmpfs", "/root/run", MS_NOSUID | MS_NODEV | MS_STRICTATIME, "mode=0755,size=20%");
    move_tree("/site", "/root");
    hand_over("/.extra/global_credentials");
    hand_over("/.extra/credentials");
    unlink("/init");
    say_version();
    switch_root();
    umask(022);
    argv[0] = (char *)SYSTEM;
    execv(SYSTEM, argv);
    fail("%s cannot be started (%m)", SYSTEM);
}
