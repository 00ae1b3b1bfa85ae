#!/usr/bin/python3
"""A decoder of the coffer container, version 1, written from format/SPEC.md alone.

    decode.py CASE.json < container > plaintext

CASE.json holds keys, context and limits; ../conformance/conformance.go describes it and
the exit status.
This program is for checking the text and other decoders against each other: it is made
to be read beside SPEC.md, whose numbers it cites, and not to be fast.
"""

import hmac
import json
import sys
from struct import pack, unpack_from

sys.dont_write_bytecode = True  # for the files beside this one

try:
    import argon2
    import zstandard
    from cryptography.exceptions import InvalidTag
except ImportError as error:
    sys.exit(f"{error}: apt-get install python3-argon2 python3-cryptography python3-zstandard, and run /usr/bin/python3")

import tar
from content import Content, read_frames, read_table
from fault import EXIT, Fault, check
from header import candidates, read_copies, read_head, well_formed
from keys import mac_verifies, unlock


# § 5: the DARE body


def package_header(keys, length, final):
    nonce = bytes([keys.nonce[0] | (0x80 if final else 0)]) + keys.nonce[1:]
    return pack("<BBH", 0x20, keys.suite - 1, length - 1) + nonce


def read_package(file, keys, number, last=None):
    """Reads and opens a package: its payload, and whether it is FINAL. last is the number of the one
    that must be, if that is known."""
    header = file.read(16)
    check(len(header) == 16, "truncated", "the input ends where a package header is due")
    final = header[4] & 0x80 != 0 if last is None else number == last
    length = unpack_from("<H", header, 2)[0] + 1 if final else 65536
    check(number < 2**32, "auth", "package 2^32")
    check(hmac.compare_digest(header, package_header(keys, length, final)), "auth", f"header of package {number}")
    sealed = file.read(length + 16)
    check(len(sealed) == length + 16, "truncated", "the input ends inside a package")
    nonce = header[4:12] + pack("<I", number)  # N ends in four zeros
    try:
        return keys.aead.decrypt(nonce, sealed, header[:4]), final
    except InvalidTag:
        raise Fault("auth", f"tag of package {number}") from None


def packages(file, keys, last=None):
    number, final = 0, False
    while not final:
        payload, final = read_package(file, keys, number, last)
        yield payload
        number += 1


def read_end(file, block, keys):
    """What follows FINAL: TAIL, and nothing more (§ 8.1.6)."""
    raw = file.read(block.size)
    check(len(raw) == block.size, "truncated", "the input ends inside TAIL")
    verdict = judge_copy(block, well_formed(raw), keys.k_mac)
    check(verdict != "damaged-copy", "auth", "TAIL is not well-formed")
    check(not file.read(1), "trailing", "bytes after TAIL")
    return verdict


def find_end(file, file_len, block, keys):
    """The number of the final package, and the length of the content (§ 8.2.3)."""
    body_len = file_len - 2 * block.size
    last = (body_len - 1) // 65568
    if body_len >= 33 and body_len - last * 65568 >= 33:
        file.seek(block.size + last * 65568)
        try:
            payload, _ = read_package(file, keys, last, last)
            if file.tell() == file_len - block.size:
                return last, last * 65536 + len(payload)
        except Fault:
            pass
    number, inner = 0, package_header(keys, 65536, False)
    file.seek(block.size)
    while hmac.compare_digest(file.read(16), inner):
        number += 1
        file.seek(block.size + number * 65568)
    file.seek(block.size + number * 65568)
    try:
        read_package(file, keys, number)
    except Fault as fault:
        if fault.cls == "truncated" and number:  # of what may be TAIL in the place of a package's end
            file.seek(block.size + (number - 1) * 65568)
            read_package(file, keys, number - 1)
        raise
    read_end(file, block, keys)
    raise RuntimeError("the end is good and not where it is due")


def read_range(file, block, keys, last, start, end):
    """Bytes [start, end) of the content, by position (§ 5.2.2)."""
    number, got = start // 65536, b""
    skip = start - number * 65536
    file.seek(block.size + number * 65568)
    while len(got) < skip + end - start:
        got += read_package(file, keys, number, last)[0]
        number += 1
    return got[skip : skip + end - start]


# § 8: the two readers


def judge_copy(block, other, k_mac):
    """Judges the other copy, None if it is not well-formed: "", "skew" or "damaged-copy" (§ 3.4.4)."""
    if other is None:
        return "damaged-copy"
    if other.raw == block.raw:
        return ""
    same_file = other.raw[:64] == block.raw[:64] and other.size == block.size
    check(same_file and mac_verifies(other, k_mac), "auth", "the other header copy")
    return "skew"


def open_stream(file, case, catalog):
    """§ 8.1: yields plaintext, and returns the verdict on TAIL."""
    block, keys = unlock([read_head(file)], case)
    yield from read_frames(Content(packages(file, keys)), block.segment, catalog)
    return read_end(file, block, keys)


def open_random(file, case, catalog):
    """§ 8.2, and then every range in order: yields plaintext, and returns the verdict on the other copy."""
    file_len = file.seek(0, 2)
    file.seek(0)
    head, tail = read_copies(file, file_len)
    block, keys = unlock(candidates(head, tail), case)
    last, content_len = find_end(file, file_len, block, keys)
    verdict = judge_copy(block, tail if block is head else head, keys.k_mac)

    def read(start, end):
        return read_range(file, block, keys, last, start, end)

    table = read_table(read, content_len, block.segment)
    file.seek(block.size)
    yield from read_frames(Content(packages(file, keys, last)), block.segment, catalog, table)
    return verdict


def decode(case, file, out):
    """Writes the plaintext to out, and returns "", "skew" or "damaged-copy"."""
    verdict, broken, members, catalog = "", None, [], []

    def release():
        nonlocal verdict
        reader = open_random if case["reader"] == "random" else open_stream
        verdict = yield from reader(file, case, catalog)

    def written():
        for plain in release():
            out.write(plain)
            out.flush()
            yield plain

    plaintext = written()
    if case.get("archive"):
        try:
            members = tar.members(plaintext)
        except tar.Broken as error:
            broken = error
    for _ in plaintext:
        pass
    check(broken is None, "content", f"tar: {broken}")
    check(not case.get("archive") or members == catalog, "content", "the catalog differs from the tar")
    return verdict


def main():
    if len(sys.argv) != 2:
        print("usage: decode.py CASE.json < container > plaintext", file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as file:
        case = json.load(file)
    if case.get("reader") not in ("stream", "random"):
        print('CASE.json needs "reader": "stream" or "random"', file=sys.stderr)
        return 2
    try:
        verdict = decode(case, sys.stdin.buffer, sys.stdout.buffer)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return EXIT[fault.cls]
    if verdict:
        print(verdict, file=sys.stderr)
    return EXIT[verdict] if verdict else 0


if __name__ == "__main__":
    sys.exit(main())
