"""A parser of the PAX tar of § 7, for decode.py: what it refuses breaks § 7 or § 9.1."""

import re
from collections import namedtuple

# What a catalog record says too (§ 6.3.2). mtime is in nanoseconds, type the typeflag as a number.
Member = namedtuple("Member", "offset size mtime mode type path link")

FILE, HARD_LINK, SYMBOLIC_LINK, DIRECTORY, PAX = b"0", b"1", b"2", b"5", b"x"
TYPES = b"0123456"
NUMBERS = ("size", "uid", "gid")
TIMES = ("mtime", "atime", "ctime")
TEXTS = ("path", "linkpath", "uname", "gname")
XATTR = "SCHILY.xattr."
MAX_PAX = 2**20
MAX_MEMBERS = 10_000_000


class Broken(Exception):
    """The stream is no archive of § 7."""


def check(good, why):
    if not good:
        raise Broken(why)


class Reader:
    """Reads chunks forward, and counts."""

    def __init__(self, chunks):
        self.chunks, self.buffer, self.at = iter(chunks), b"", 0

    def some(self, most):
        """At most that many bytes; none at the end."""
        while not self.buffer:
            chunk = next(self.chunks, None)
            if chunk is None:
                return b""
            self.buffer = memoryview(chunk)
        part, self.buffer = bytes(self.buffer[:most]), self.buffer[most:]
        self.at += len(part)
        return part

    def take(self, n):
        got = b""
        while len(got) < n:
            part = self.some(n - len(got))
            check(part, "the stream ends inside an archive")
            got += part
        return got

    def skip(self, n):
        while n:
            part = self.some(n)
            check(part, "the stream ends inside an archive")
            n -= len(part)


def members(chunks):
    """Parses a whole archive."""
    reader, found, names = Reader(chunks), [], set()  # names are those that hard links can have
    while True:
        offset = reader.at
        header = reader.take(512)
        if not any(header):
            break
        check(len(found) < MAX_MEMBERS, "too many members")
        member = read_member(reader, header, offset)
        check(member.type != ord(HARD_LINK) or member.link in names, "a hard link to no earlier member")
        found.append(member)
        if member.type != ord(DIRECTORY):
            names.add(member.path)
    check(not any(reader.take(512)), "one block of zeros")
    while part := reader.some(65536):
        check(not any(part), "bytes after the end")
    return found


def read_member(reader, header, offset):
    """Reads the rest of a member: its PAX records come first, its content is skipped."""
    pax = {}
    typeflag = judge_block(header)
    if typeflag == PAX:
        size = octal(header[124:136])
        check(size <= MAX_PAX, "PAX records of more than 1 MiB")
        pax = parse_pax(reader.take(size))
        reader.skip(-size % 512)
        header = reader.take(512)
        typeflag = judge_block(header)
    check(typeflag in TYPES, f"type {typeflag}")
    for field in slice(108, 116), slice(116, 124), slice(329, 337), slice(337, 345):
        octal(header[field])  # uid, gid and device numbers are judged, not compared
    size = int(pax["size"]) if "size" in pax else octal(header[124:136])
    check(typeflag == FILE or size == 0, "content in a member that is no file")
    mtime = nanoseconds(pax["mtime"]) if "mtime" in pax else octal(header[136:148]) * 10**9
    name, link, prefix = (text(header[a:b]) for a, b in ((0, 100), (157, 257), (345, 500)))
    path = pax.get("path", prefix + b"/" + name if prefix else name)
    judge_path(path, typeflag)
    link = pax.get("linkpath", link)
    most = 4096 if typeflag in HARD_LINK + SYMBOLIC_LINK else 0
    check(min(most, 1) <= len(link) <= most, "a link target")
    mode = octal(header[100:108])
    check(mode <= 0o7777, "a mode")
    reader.skip(size)
    reader.skip(-size % 512)
    mtime = max(-(2**63), min(mtime, 2**63 - 1))
    return Member(offset, size, mtime, mode, typeflag[0], path, link)


def judge_block(header):
    """Judges what all ustar blocks have, and returns the typeflag."""
    check(header[257:265] == b"ustar\x0000", "no ustar block")
    check(header[:500].isascii(), "a field that is not ASCII")
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    check(octal(header[148:156]) == total, "checksum")
    return header[156:157]


def judge_path(path, typeflag):
    if typeflag == DIRECTORY:
        check(path.endswith(b"/"), "a directory without a slash")
        if path == b"./":
            return
        path = path[:-1]
    check(len(path) <= 4096, "name too long")
    parts = path.split(b"/")
    check(len(parts) <= 1024, "a name of too many parts")
    for part in parts:
        check(1 <= len(part) <= 255 and part not in (b".", b".."), "a part of a name")


def octal(field):
    match = re.fullmatch(rb" *([0-7]*)[ \0]+", field)
    check(match, "a number in a ustar block")
    return int(match[1] or b"0", 8)


def text(field):
    return field.split(b"\0", 1)[0]


def parse_pax(data):
    """Parses "LEN KEY=VALUE\\n" records; path and linkpath stay bytes."""
    pax, at = {}, 0
    while at < len(data):
        match = re.compile(rb"([1-9][0-9]{0,6}) ([^=]+)=").match(data, at)
        check(match, "a PAX record")
        end = at + int(match[1])
        check(match.end() < end <= len(data) and data[end - 1] == ord("\n"), "length of a PAX record")
        key, value = match[2].decode("utf-8", "surrogateescape"), data[match.end() : end - 1]
        check("\0" not in key and (b"\0" not in value or key.startswith(XATTR)), "a NUL in a PAX record")
        check(key not in pax, "a PAX record twice")
        if key in NUMBERS:
            check(re.fullmatch(rb"[0-9]{1,19}", value), "a number in a PAX record")
        elif key in TIMES:
            check(re.fullmatch(rb"-?[0-9]{1,19}(\.[0-9]*)?", value), "a time in a PAX record")
        else:
            check(key in TEXTS or key.startswith(XATTR), "a PAX record that is not accepted")
        pax[key] = value
        at = end
    return pax


def nanoseconds(value):
    """Digits after the ninth are dropped."""
    seconds, _, fraction = value.lstrip(b"-").partition(b".")
    n = int(seconds) * 10**9 + int((fraction + b"0" * 9)[:9])
    return -n if value.startswith(b"-") else n
