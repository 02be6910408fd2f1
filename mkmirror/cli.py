"""The verbs of `mkmirror` for people: make extensions, make a folder a mirror, check one, copy a part of one.

Each ends with the exit status of its error (sysexits.h where a number fits); what it says on the way goes to standard
error, its result to standard output.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from mkcore.errors import BadInput, Untrusted
from mkcore.paths import paths_under

USAGE_STATUS = 64
DPKG_STATUS = "/var/lib/dpkg/status"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and end with EX_USAGE, and that takes whole options alone."""

    def __init__(self, **options: Any) -> None:
        whole: dict[str, Any] = {**options, "allow_abbrev": False}
        super().__init__(**whole)
        self._intermixing = False

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]  # the library's has overloads
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Let options stand between the words of a verb, too."""
        if self._intermixing or self.get_default("run") is None:
            return super().parse_known_args(args, namespace)
        self._intermixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixing = False

    def error(self, message: str) -> NoReturn:
        """End with one line."""
        self.exit(USAGE_STATUS, f"mkmirror: {message} (see {self.prog} --help)\n")


@contextmanager
def work_folder() -> Generator[Path, None, None]:
    """Give a private folder for the time of a command."""
    import tempfile  # the service has no use for it

    with tempfile.TemporaryDirectory(prefix="mkmirror-") as folder:
        yield Path(folder)


def _progress(options: argparse.Namespace) -> Any:
    from mkmirror.progress import Progress

    return Progress(quiet=options.quiet)


def trusted_keys(options: argparse.Namespace) -> list[Path]:
    """Return the keys to trust: those of --key, else the machine's."""
    from mkmirror import trust

    if options.key:
        return list(options.key)
    paths = paths_under(options.root)
    return trust.key_files([paths.lib / "trust.d", paths.etc / "trust.d"], paths.credentials)


def run_index(options: argparse.Namespace) -> None:
    """`mkmirror index`: lists, sums, signature, the packages' index."""
    from mkmirror import catalogue

    progress = _progress(options)
    if options.install is not None:
        catalogue.write_list(options.folder, "extensions", options.install)
    if options.modules is not None:
        catalogue.write_list(options.folder, "modules", options.modules)
    if options.packages is not None:
        catalogue.write_package_list(options.folder, options.packages)
    signer = catalogue.Signer(options.sign, options.homedir) if options.sign else None
    count = catalogue.index(options.folder, signer, progress)
    if not count:
        raise BadInput("holds no extensions and no packages", str(options.folder))


def run_verify(options: argparse.Namespace) -> None:
    """`mkmirror verify`: sums, signatures and dependencies of a mirror's folder, or what is installed."""
    from mkmirror import audit, cli_node, trust

    if not options.folder.is_dir():
        print("\n".join(cli_node.verify_installed(str(options.folder), paths_under(options.root))))
        return

    with work_folder() as work:
        checks = audit.Checks(trust.Verify(options.verify), trusted_keys(options), work, options.partial)
        count, problems = audit.verify(options.folder, checks, _progress(options))
    for problem in problems:
        print(problem)
    if problems:
        raise Untrusted(f"{options.folder}: {len(problems)} problems in {count} files")


def run_build(options: argparse.Namespace) -> None:
    """`mkmirror build`: an extension from a folder or from Debian packages."""
    from mkcore import files
    from mkmirror import build, debs
    from mkmirror.formats import sysext

    progress = _progress(options)
    system = sysext.parse_release(files.read_text(options.system), str(options.system)) if options.system else {}
    recipe = build.Recipe(
        options.name,
        options.format,
        needs=tuple(options.needs),
        description=options.description,
        version=options.version_text,
        system=system,
        machine=options.machine,
        units=tuple(options.unit),
        time_s=options.time,
    )
    build.require_recipe(recipe)
    with work_folder() as work:
        if options.folder is not None:
            fill = build.fill_from_folder(options.folder)
        else:
            packages = debs.fetch(options.from_deb, options.base, options.apt_config, work, progress)
            packages = debs.leave_out(packages, options.without, progress) if options.without else packages
            fill = partial(
                debs.unpack,
                packages,
                options.name,
                work=work / "unpacked",
                merged=options.format == "sysext",
                scripts=not options.no_scripts,
                progress=progress,
            )
        for path in build.build(recipe, fill, options.out, progress)[:1]:
            print(path)


def run_mirror(options: argparse.Namespace) -> None:
    """`mkmirror mirror`: a part of a remote mirror, with all that it needs."""
    from mkcore import files
    from mkmirror import mirroring, trust
    from mkmirror.formats import wheel
    from mkmirror.lists import lines_of
    from mkmirror.remote import Fetching

    progress = _progress(options)
    names = [name for name, _ in lines_of(files.read_text(options.list), str(options.list))] if options.list else []
    names += options.names
    if not names:
        raise BadInput("nothing is named to be copied")
    with work_folder() as work:
        mode = trust.Verify(options.verify)
        keys = trusted_keys(options)
        origin = mirroring.Origin(options.url, options.release, options.build, options.kernel, mode, keys, work)
        copy = mirroring.Mirroring(origin, options.folder, Fetching(retrying=progress.say), progress)
        if options.packages:
            wanted = wheel.parse_wanted_list("\n".join(names), "packages")
            print("\n".join(copy.packages(wanted)))
        else:
            print("\n".join(copy.extensions(names)))


def run_on_node(options: argparse.Namespace) -> None:
    """`mkmirror install`, `remove`, `list`: what is installed on this machine."""
    from mkmirror import cli_node

    cli_node.VERBS[options.verb](options)


def _time(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 0xFFFFFFFF:
        raise argparse.ArgumentTypeError(f"{text!r} is not a Unix time of 0 to 4294967295")
    return int(text)


def _add_index(verbs: Any) -> None:
    parser = verbs.add_parser(
        "index",
        help="make a folder a mirror: lists, sums, signature, index of Python packages",
        description="Complete a folder that holds extensions and Python packages, so that any web server can hand it "
        "out as a mirror: SHA256SUMS and .md5.txt for each file, a signature, the simple index that pip reads, and "
        "the lists of what nodes install.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="top of the mirror")
    parser.add_argument("--sign", default="", metavar="KEY", help="sign with this key of gpg's (see gpg --local-user)")
    parser.add_argument("--homedir", default="", metavar="DIR", help="gpg's folder, if not the user's own")
    for name, what in (("install", "extensions"), ("modules", "kernel modules"), ("packages", "Python packages")):
        parser.add_argument(f"--{name}", nargs="*", metavar="NAME", help=f"the {what} that nodes shall install")
    parser.set_defaults(run=run_index)
    _quiet(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Options of verbs that judge what vouches for content."""
    parser.add_argument(
        "--verify",
        choices=("signature", "checksum"),
        default="signature",
        help="what must vouch for the content (signature)",
    )
    parser.add_argument(
        "--key",
        action="append",
        type=Path,
        metavar="FILE",
        help="trust the OpenPGP keys in FILE instead of the machine's in /etc/mk/trust.d and /usr/lib/mk/trust.d",
    )


def _add_verify(verbs: Any) -> None:
    parser = verbs.add_parser(
        "verify",
        help="check a mirror (sums, signatures, dependencies), or what is installed here",
        description="Check all that a mirror's folder holds; each problem is one line of standard output. Or check "
        "that an installed extension or package still is what was installed.",
    )
    parser.add_argument("folder", metavar="DIR|NAME", type=Path)
    add_trust(parser)
    parser.add_argument("--partial", action="store_true", help="files that SHA256SUMS names may be missing")
    parser.set_defaults(run=run_verify)
    _quiet(parser)


def _add_build(verbs: Any) -> None:
    parser = verbs.add_parser(
        "build",
        help="make an extension from a folder or from Debian packages",
        description="Make NAME.raw (sysext) or NAME.tcz and the files beside it. The same input makes the same bytes.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the extension, without an ending")
    parser.add_argument("--format", choices=("sysext", "tcz"), required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--from", dest="folder", type=Path, metavar="DIR", help="a tree as it shall lie below /")
    source.add_argument("--from-deb", nargs="+", metavar="PKG", help=".deb files, and names for apt to fetch")
    text = "package to leave out, though another needs it"
    parser.add_argument("--without", action="append", default=[], metavar="PKG", help=text)
    text = "do nothing of what the packages' scripts do, and start none of their units"
    parser.add_argument("--no-scripts", action="store_true", help=text)
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where the files go (here)")
    parser.add_argument("--dep", dest="needs", action="append", default=[], metavar="FILE", help="extension it needs")
    parser.add_argument("--unit", action="append", default=[], help="start this unit as soon as it is merged")
    parser.add_argument("--os-release", dest="system", type=Path, metavar="FILE", help="only for that system (any)")
    parser.add_argument("--architecture", dest="machine", default="", metavar="ARCH", help="as uname -m says it (any)")
    parser.add_argument("--description", default="", metavar="TEXT")
    parser.add_argument("--version", dest="version_text", default="", metavar="TEXT")
    parser.add_argument("--time", type=_time, default=0, metavar="SECONDS", help="Unix time of all files (0)")
    text = f"dpkg's status file of the system that it is for: what is there is not packed ({DPKG_STATUS})"
    parser.add_argument("--base", type=Path, default=Path(DPKG_STATUS), metavar="FILE", help=text)
    parser.add_argument("--apt-config", default="", metavar="FILE", help="apt.conf with other archives than the host's")
    parser.set_defaults(run=run_build)
    _quiet(parser)


def _add_mirror(verbs: Any) -> None:
    parser = verbs.add_parser(
        "mirror",
        help="copy a part of a remote mirror, with all that it needs",
        description="Copy extensions (NAME.tcz, NAME.raw) or Python packages from a remote mirror, with their "
        "dependencies. Can be broken off and started again: it goes on where it ended.",
    )
    parser.add_argument("url", metavar="URL", help="base of the mirror, e.g. http://HOST/tinycorelinux")
    parser.add_argument("folder", metavar="DIR", type=Path, help="top of the copy")
    parser.add_argument("names", nargs="*", metavar="NAME", help="extension, or package with 'NAME [requirement]'")
    parser.add_argument("--list", type=Path, metavar="FILE", help="file with further names, one a line")
    parser.add_argument("--packages", action="store_true", help="the names are Python packages")
    parser.add_argument("--release", default="15.x", help="release of Tiny Core (15.x)")
    machine = os.uname()
    parser.add_argument("--build", default=machine.machine, help=f"build of the extensions ({machine.machine})")
    text = f"kernel that -KERNEL in a name stands for ({machine.release})"
    parser.add_argument("--kernel", default=machine.release, metavar="RELEASE", help=text)
    add_trust(parser)
    parser.set_defaults(run=run_mirror)
    _quiet(parser)


def _add_node(verbs: Any) -> None:
    install = verbs.add_parser(
        "install",
        help="install on this machine, now",
        description="Have extensions (NAME, NAME.raw, NAME.tcz) or Python packages fetched and installed on this "
        "machine, with all that they need. As root.",
    )
    install.add_argument("--packages", action="store_true", help="the names are Python packages, 'NAME [requirement]'")
    remove = verbs.add_parser(
        "remove",
        help="remove from this machine, now",
        description="Take extensions or Python packages away from this machine. Lists do not install them again until "
        "`mkmirror install` names them. As root.",
    )
    for parser in (install, remove):
        parser.add_argument("names", nargs="+", metavar="NAME")
        parser.set_defaults(run=run_on_node)
        _quiet(parser)
    listing = verbs.add_parser(
        "list",
        help="show what is installed on this machine, and what was refused",
        description="Show what is installed on this machine, what was refused and why, and what is waited for.",
    )
    listing.add_argument("--json", action="store_true", help="as one JSON document")
    listing.set_defaults(run=run_on_node)


def _quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add all verbs; without one the program serves."""
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", parser_class=Parser)
    for add in (_add_index, _add_verify, _add_build, _add_mirror, _add_node):
        add(verbs)
