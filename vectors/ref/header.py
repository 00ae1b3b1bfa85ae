"""The header block and its two copies (§ 3)."""

from collections import namedtuple
from struct import unpack_from

from fault import Fault, check

MAGIC = bytes.fromhex("89434F460D0A1A0A")

# core is [8, 64); copies of one header have equal CORE and H. slots are those of kinds 1 to 4.
Block = namedtuple("Block", "raw size core suite segment bound salt context_tag generation slots")
Slot = namedtuple("Slot", "raw kind salt params wrapped")


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def crc_entry(value):
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


CRC_TABLE = [crc_entry(i) for i in range(256)]


def judge_start(start):
    """Judges the first 96 bytes, or what there is of them, and returns H (§ 8.1.1)."""
    check(start and MAGIC.startswith(start[:8]), "magic", "not a coffer container")
    check(len(start) < 10 or start[8:10] == b"\x01\x00", "version", "not of version 1")
    check(len(start) == 96, "truncated", "the input ends inside the header block")
    size, slots_len = unpack_from("<II", start, 72)
    check(4096 <= size <= 65536 and size % 4096 == 0, "header", "H")
    check(slots_len <= size - 136, "header", "slots_len")
    return size


def parse_block(raw):
    """Parses a whole block; one that is not well-formed (§ 3.1.2) is a fault."""
    check(judge_start(raw[:96]) == len(raw), "header", "H is not the length of the block")
    size = len(raw)
    check(unpack_from("<I", raw, size - 8)[0] == crc32c(raw[: size - 8]), "header", "CRC")
    suite, content, segment_log2, flags = raw[10:14]
    check(suite in (1, 2) and content == 1 and 16 <= segment_log2 <= 26 and flags <= 1,
          "header", "suite, content, segment_log2 or flags")
    context_tag = raw[48:64]
    check(flags or not any(context_tag), "header", "a context tag without its flag")
    generation, _, slots_len, slot_count = unpack_from("<QIIH", raw, 64)
    check(1 <= generation < 2**63, "header", "generation")
    check(1 <= slot_count <= 32, "header", "slot_count")
    check(not any(raw[14:16]) and not any(raw[82:96]), "header", "a reserved byte")
    slots = parse_entries(raw[96 : 96 + slots_len], slot_count)
    check(not any(raw[96 + slots_len : size - 40]), "header", "padding")
    check(unpack_from("<I", raw, size - 4)[0] == size, "header", "the second H")
    return Block(raw, size, raw[8:64], suite, 1 << segment_log2, flags == 1, raw[16:48], context_tag,
                 generation, slots)


def parse_entries(entries, count):
    """Judges slots and notes (§ 3.2), and returns the slots that this decoder knows."""
    at, notes, salts, known = 0, 0, [], []
    for _ in range(count):
        check(at + 4 <= len(entries), "header", "an entry passes the slots")
        kind, length = unpack_from("<HH", entries, at)
        raw = entries[at : at + 4 + length]
        check(len(raw) == 4 + length, "header", "an entry passes the slots")
        at += 4 + length
        if kind & 0x8000:
            notes += length
            continue
        check(length >= 32, "header", "a slot without its salt")
        salts.append(raw[4:36])
        parts = split_slot(kind, raw[36:])
        if parts and kind != 5:  # Debian 12 has no ML-KEM: kind 5 is judged, and then as good as unknown
            known.append(Slot(raw, kind, raw[4:36], *parts))
    check(at == len(entries), "header", "the entries do not fill the slots")
    check(notes <= 4096, "header", "notes of more than 4096 bytes")
    check(salts, "header", "no slot")
    check(len(set(salts)) == len(salts), "header", "a slot_salt twice")
    return known


def split_slot(kind, rest):
    """Splits what follows slot_salt into params and wrapped (§ 3.3); None for an unknown slot (§ 3.2.3)."""

    def form(good):
        check(good, "header", f"a slot of kind {kind} is not as § 3.3 says")

    if kind == 1:
        form(len(rest) == 16 + 64)
        return rest[:16], rest[16:]
    if kind == 2:
        form(len(rest) >= 1)
        if rest[0] != 0x13:
            return None
        form(len(rest) == 16 + 64)
        _, p, reserved1, t, m, reserved2 = unpack_from("<BBHIII", rest)
        form(reserved1 == 0 and reserved2 == 0)
        form(1 <= p <= 16 and 1 <= t <= 16 and 8 * p <= m <= 2**22)  # § 3.3.1
        return rest[:16], rest[16:]
    if kind == 3:
        form(len(rest) >= 1)
        if not 1 <= rest[0] <= 4:
            return None
        at = 1
        for _ in ("CKA_ID", "label"):
            form(at < len(rest) and rest[at] <= 64)
            at += 1 + rest[at]
        at += 16  # token serial
        lengths = (range(92, 93), range(72, 73), range(72, 73), range(1, 1025))[rest[0] - 1]
    elif kind == 4:
        form(len(rest) >= 1)
        at = 1 + rest[0]
        lengths = range(1, 4097)
    elif kind == 5:
        form(len(rest) >= 2)
        if rest[:2] != b"\x7a\x64":
            return None
        form(len(rest) == 2 + 1120 + 48)
        return rest[:2], rest[2:]
    else:
        return None
    form(at + 2 <= len(rest))
    length = unpack_from("<H", rest, at)[0]
    form(length in lengths and at + 2 + length == len(rest))
    return rest[:at], rest[at + 2 :]


def read_head(file):
    start = file.read(96)
    size = judge_start(start)
    raw = start + file.read(size - 96)
    check(len(raw) == size, "truncated", "the input ends inside the header block")
    return parse_block(raw)


def well_formed(raw):
    try:
        return parse_block(raw)
    except Fault:
        return None


def read_copies(file, file_len):
    """Reads HEAD and TAIL for random access (§ 3.4.2); one that is not well-formed is None."""
    head, fault, size = None, None, 0
    try:
        head = read_head(file)
        size = head.size
    except Fault as f:
        fault = f
        file.seek(max(0, file_len - 4))
        size = int.from_bytes(file.read(4), "little")
        if size not in range(4096, 65537, 4096) or 2 * size > file_len:
            raise
    file.seek(file_len - size)
    tail = well_formed(file.read(size))
    if head is None and tail is None:
        raise fault
    return head, tail


def candidates(head, tail):
    """The copies whose slots are tried, in order (§ 3.4.3)."""
    if not head or not tail:
        return [head or tail]
    if head.raw[:64] != tail.raw[:64]:
        return [head]
    return [tail, head] if tail.generation > head.generation else [head, tail]
