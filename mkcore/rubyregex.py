"""Ruby's regular expressions in terms of Python's.

The exclusion pattern that servers push is written in Ruby's language (Onigmo). What differs is translated: `\\A \\z
\\Z \\h`, `(?<name>)`, atomic and possessive groups, `(?m)` meaning dotall, POSIX brackets, `^ $` at every line. What
has no equal here is refused, with the reason and its place. A valid pattern can still take seconds or years, so
`try_pattern` runs it over the real fact names in a bounded child before anybody relies on it.

Source: Onigmo doc/RE, ruby-doc.org Regexp, docs.python.org re. Classes are ASCII, as in Ruby for \\w \\d \\s.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from re import Pattern

from mkcore import proc
from mkcore.errors import BadInput, ToolFailed
from mkcore.rubyclass import parse_bracket, simple_escape

PATTERN_LIMIT = 10_000
_DEPTH_LIMIT = 60
_QUANTIFIER = re.compile(r"[*+?]|\{(?:\d+(?:,\d*)?|,\d+)\}")
_OPTIONS = re.compile(r"\?([imx]*)(?:-([imx]*))?([:)])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"\\([1-9][0-9]{0,2})")
_OCTAL = re.compile(r"\\[0-7]{2}")
_NAMED = re.compile(r"\\k(?:<([^>]*)>|'([^']*)')")
_ASSERTIONS = {"A": r"\A", "z": r"\Z", "Z": r"(?=\n?\Z)", "b": r"\b", "B": r"\B"}
_REFUSED = {
    "G": "the search position \\G",
    "K": "\\K",
    "g": "the subexpression call \\g",
    "p": "the character property \\p",
    "P": "the character property \\P",
    "X": "the grapheme cluster \\X",
    "C": "the control escape \\C",
    "M": "the meta escape \\M",
    "N": "\\N",
    "O": "\\O",
    "y": "\\y",
    "Y": "\\Y",
}


def translate(pattern: str) -> str:
    """Return the Python pattern that finds the same as the Ruby `pattern`, for use with re.MULTILINE | re.ASCII.

    Raises BadInput for a pattern that is wrong, longer than 10,000 characters, or that uses what cannot be translated.
    """
    if len(pattern) > PATTERN_LIMIT:
        raise BadInput(f"the pattern is longer than {PATTERN_LIMIT} characters")
    parser = _Parser(pattern)
    translated = parser.alternatives()
    if parser.at < len(pattern):
        raise parser.error("a closing parenthesis without an opening one")
    return translated


def compile_ruby(pattern: str) -> Pattern[str]:
    """Compile a Ruby pattern for searching; raise BadInput as translate, and for what Python's compiler refuses."""
    translated = translate(pattern)
    try:
        return re.compile(translated, re.MULTILINE | re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadInput(f"the pattern cannot be used: {error}") from None


class _Parser:
    """Recursive descent over one pattern; each method returns Python text for what it consumed."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.extended = False
        self.depth = 0
        self.helpers = 0  # groups of our own, for atomic groups
        self.groups = 0  # Ruby's numbered groups so far
        self.names: list[str] = []
        self.numbers: dict[int, int] = {}  # Ruby's group number -> Python's
        self.has_names = re.search(r"\(\?(?:<[^=!]|')", pattern) is not None

    def error(self, text: str) -> BadInput:
        """Make the error that names this place of the pattern."""
        return BadInput(f"{text}, at character {self.at + 1} of the pattern")

    def peek(self, text: str) -> bool:
        """Tell whether the pattern goes on with `text`."""
        return self.pattern.startswith(text, self.at)

    def alternatives(self) -> str:
        """Parse up to the end of the group: branches joined by `|`."""
        return "|".join(self.branches())

    def branches(self) -> list[str]:
        """Parse branches up to the end of the group; options that one sets end with the group."""
        self.depth += 1
        if self.depth > _DEPTH_LIMIT:
            raise self.error("groups are nested too deeply")
        extended = self.extended
        found = [self.branch()]
        while self.peek("|"):
            self.at += 1
            found.append(self.branch())
        self.extended = extended
        self.depth -= 1
        return found

    def branch(self) -> str:
        """Parse one branch: atoms with their quantifiers."""
        pieces: list[str] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            if self.extended and self.skip_blank():
                continue
            atom, repeatable = self.atom()
            pieces.append(self.quantified(atom, repeatable))
        return "".join(pieces)

    def skip_blank(self) -> bool:
        """In extended mode, step over one blank or comment."""
        char = self.pattern[self.at]
        if char == "#":
            end = self.pattern.find("\n", self.at)
            self.at = len(self.pattern) if end < 0 else end + 1
            return True
        if char in " \t\n\r\f\v":
            self.at += 1
            return True
        return False

    def quantified(self, atom: str, repeatable: bool) -> str:
        """Append the quantifiers that follow `atom`; several in a row nest, as in Ruby."""
        first = True
        while True:
            match = _QUANTIFIER.match(self.pattern, self.at)
            if match is None:
                return atom
            if not repeatable:
                raise self.error("a quantifier with nothing to repeat")
            self.at = match.end()
            atom = self.repeat(atom if first else f"(?:{atom})", match.group())
            first = False

    def repeat(self, atom: str, quantifier: str) -> str:
        """Append one quantifier, possessive or lazy as what follows it says."""
        if len(quantifier) == 1 and self.peek("+"):
            self.at += 1
            return self.atomic(atom + quantifier)
        # after a fixed count Ruby's ? is one more quantifier, "or not at all", while Python's means lazy
        fixed = quantifier[-1] == "}" and "," not in quantifier
        if self.peek("?") and not fixed:
            self.at += 1
            return f"{atom}{quantifier}?"
        return atom + quantifier

    def atomic(self, inner: str) -> str:
        """Give back nothing once matched: a lookahead never backtracks (Python has (?>) only from 3.11 on)."""
        self.helpers += 1
        name = f"mk_atomic_{self.helpers}"
        return f"(?:(?=(?P<{name}>{inner}))(?P={name}))"

    def atom(self) -> tuple[str, bool]:
        """Parse one atom; return its text and whether a quantifier may follow."""
        char = self.pattern[self.at]
        if char == "(":
            return self.group()
        if char == "[":
            text, self.at = parse_bracket(self.pattern, self.at)
            return text, True
        if char == "\\":
            return self.escape()
        if _QUANTIFIER.match(self.pattern, self.at):
            raise self.error("a quantifier with nothing to repeat")
        self.at += 1
        if char in "^$":
            return char, True
        return ("." if char == "." else re.escape(char)), True

    def escape(self) -> tuple[str, bool]:
        """Parse what begins with a backslash; return as `atom`."""
        following = self.pattern[self.at + 1 : self.at + 2]
        if following in _REFUSED and following:
            raise self.error(f"{_REFUSED[following]} cannot be translated")
        if following in _ASSERTIONS and following:
            self.at += 2
            return _ASSERTIONS[following], True
        if following == "k":
            return self.named_reference(), True
        number = _NUMBER.match(self.pattern, self.at)
        if number and (int(number.group(1)) in self.numbers or not _OCTAL.match(self.pattern, self.at)):
            return self.numbered_reference(int(number.group(1)), number.end()), True
        text, self.at = simple_escape(self.pattern, self.at, in_class=False)
        return text, True

    def numbered_reference(self, number: int, end: int) -> str:
        r"""Parse a reference like \1 that ends at `end`."""
        if self.has_names or number not in self.numbers:
            raise self.error(f"the back reference \\{number} has no group before it")
        self.at = end
        return f"(?P=mk_group_{number})"

    def named_reference(self) -> str:
        r"""Parse \k<name>."""
        match = _NAMED.match(self.pattern, self.at)
        name = (match.group(1) or match.group(2) or "") if match else ""
        if match is None or name not in self.names:
            raise self.error(f"the back reference to {name[:40]!r} has no group before it")
        self.at = match.end()
        return f"(?P={name})"

    def group(self) -> tuple[str, bool]:
        """Parse a parenthesis of any kind."""
        self.at += 1
        if not self.peek("?"):
            return self.closed(self.capture_start(), self.alternatives()), True
        if self.peek("?#"):
            end = self.pattern.find(")", self.at)
            if end < 0:
                raise self.error("a comment without an end")
            self.at = end + 1
            return "", False
        for opening in ("?:", "?=", "?!", "?<=", "?<!", "?>"):
            if self.peek(opening):
                self.at += len(opening)
                return self.plain_group(opening), True
        if self.peek("?<") or self.peek("?'"):
            return self.named_group(), True
        return self.options()

    def closed(self, start: str, inner: str) -> str:
        """Step over the closing parenthesis; return the whole group."""
        if not self.peek(")"):
            raise self.error("a parenthesis without an end")
        self.at += 1
        return f"{start}{inner})"

    def capture_start(self) -> str:
        """Open an unnamed group: numbered, unless the pattern has named ones, when Ruby does not capture it."""
        if self.has_names:
            return "(?:"
        self.groups += 1
        self.numbers[self.groups] = self.groups
        return f"(?P<mk_group_{self.groups}>"

    def plain_group(self, opening: str) -> str:
        """Parse a group that captures nothing: grouping, assertion or atomic."""
        if opening == "?>":
            return self.atomic(self.closed("", self.alternatives())[:-1])
        if opening in ("?<=", "?<!"):
            # Ruby allows branches of different lengths at the top; Python does when each has its own assertion
            parts = [f"({opening}{branch})" for branch in self.branches()]
            text = self.closed("", "|".join(parts) if opening == "?<=" else "".join(parts))[:-1]
            return f"(?:{text})"
        return self.closed(f"({opening}", self.alternatives())

    def named_group(self) -> str:
        """Parse (?<name>…) and (?'name'…)."""
        end = {"<": ">", "'": "'"}[self.pattern[self.at + 1]]
        match = _NAME.match(self.pattern, self.at + 2)
        if match is None or not self.pattern.startswith(end, match.end()) or match.group().startswith("mk_"):
            raise self.error("a group name that cannot be used")
        name = match.group()
        if name in self.names:
            raise self.error(f"the group name {name[:40]!r} is used twice")
        self.names.append(name)
        self.at = match.end() + 1
        return self.closed(f"(?P<{name}>", self.alternatives())

    def options(self) -> tuple[str, bool]:
        """Parse `(?imx-imx)` and `(?imx-imx:...)`.

        The first lasts to the end of the enclosing group, later branches included: `(?i)a|b` is `(?i:a|b)`.
        """
        match = _OPTIONS.match(self.pattern, self.at)
        if match is None:
            raise self.error("a kind of group that cannot be translated")
        on, off, end = match.group(1), match.group(2) or "", match.group(3)
        self.at = match.end()
        before = self.extended
        self.extended = ("x" in on or self.extended) and "x" not in off
        inner = self.alternatives()
        text = f"({_python_flags(on, off)}{inner})"
        if end == ":":
            self.extended = before
            text = self.closed("", text)[:-1]
        return text, True


def _python_flags(on: str, off: str) -> str:
    """Ruby's m is Python's s; x is dealt with while parsing; a flag both on and off is off."""
    enabled = "".join(flag for ruby, flag in (("i", "i"), ("m", "s")) if ruby in on and ruby not in off)
    disabled = "".join(flag for ruby, flag in (("i", "i"), ("m", "s")) if ruby in off)
    return f"?{enabled}-{disabled}:" if disabled else f"?{enabled}:"


def try_pattern(pattern: str, names: Sequence[str], limit_s: float, patience_s: float) -> list[str]:
    """Search `pattern` in each of `names` in a child process and return the names in which it is found.

    Raises BadInput when the pattern cannot be used or takes more than `limit_s` of a processor's time over all names,
    and ToolFailed, after which trying again can help, when the child cannot be started, or when a busy machine does
    not give it that time within `patience_s`.
    """
    from signal import SIGPROF  # few who compile patterns try one

    compile_ruby(pattern)
    package = str(Path(__file__).resolve().parent.parent)
    code = "import sys; sys.path.insert(0, sys.argv[1]); from mkcore.rubyregex import main; main()"
    work = json.dumps({"pattern": pattern, "names": list(names), "limit_s": limit_s}).encode()
    finished = proc.run((sys.executable, "-I", "-c", code, package), timeout_s=patience_s, stdin=work)
    if finished.outcome is proc.Outcome.SIGNALLED and finished.status == SIGPROF:
        raise BadInput(f"the pattern takes more than {limit_s:g} s over {len(names)} fact names")
    if not finished.ok:
        raise ToolFailed(f"the trial of the pattern failed: {finished.describe()}")
    found: list[str] = json.loads(finished.stdout)
    return found


def main() -> None:
    """Do the child's part of try_pattern: read the work from standard input, write the names found.

    The kernel ends it by SIGPROF when it has used up its time; its start is not counted, and what others of a busy
    machine take is not either.
    """
    from signal import ITIMER_PROF, setitimer

    work = json.load(sys.stdin)
    setitimer(ITIMER_PROF, work["limit_s"])
    search = compile_ruby(work["pattern"]).search
    json.dump([name for name in work["names"] if search(name)], sys.stdout)


if __name__ == "__main__":
    main()
