"""File key, derived keys, and the slots that give them (§ 4)."""

import hashlib
import hmac
from collections import Counter, namedtuple
from struct import unpack, unpack_from

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import load_der_private_key

from fault import Fault, check

Keys = namedtuple("Keys", "k_mac context_tag aead suite nonce")


def sha256(data):
    return hashlib.sha256(data).digest()


def extract(salt, ikm):
    return hmac.digest(salt, ikm, "sha256")


def expand(prk, info, n=32):
    return hmac.digest(prk, info + b"\x01", "sha256")[:n]  # no more than one round is ever needed


def derive(block, fk, context):
    """The keys of § 4.1 and § 4.4."""
    prk = extract(block.salt, fk)
    bound = sha256(block.core) + sha256(context)
    body_key = expand(prk, b"coffer v1 body key" + bound)
    nonce = bytearray(expand(prk, b"coffer v1 body nonce" + bound, 12))
    nonce[0] &= 0x7F
    nonce[8:] = bytes(4)
    aead = AESGCM(body_key) if block.suite == 1 else ChaCha20Poly1305(body_key)
    return Keys(expand(prk, b"coffer v1 header mac"),
                expand(prk, b"coffer v1 context" + sha256(context), 16), aead, block.suite, bytes(nonce))


def mac_verifies(block, k_mac):
    return hmac.compare_digest(block.raw[-40:-8], hmac.digest(k_mac, block.raw[:-40], "sha256"))


def find_file_key(blocks, case):
    """Tries slots in the order of § 4.5.7, and returns the block of the one that fits, and FK."""
    tried, held, spent = set(), [], Counter()
    for block in blocks:
        for kinds in (1,), (3,), (4,), (2,):
            for slot in block.slots:
                if slot.kind not in kinds or slot.raw in tried:
                    continue
                tried.add(slot.raw)
                bind = sha256(b"coffer v1 slot" + block.core + slot.raw[:2] + slot.salt + slot.params)
                for key in keys_for(slot, case):
                    why = hold_back(slot, case, spent)
                    if why:
                        held.append(why)
                        break
                    fk = unwrap(slot, key, bind)
                    if fk:
                        return block, fk
    check(not held, "limit", "; ".join(held))
    raise Fault("no-key", "no slot fits")


def keys_for(slot, case):
    """The keys given that could open a slot; hints are not looked at (§ 3.3.3)."""
    if slot.kind == 1:
        return [bytes.fromhex(key) for key in case.get("account_keys", [])]
    if slot.kind == 2:
        return [bytes.fromhex(key) for key in case.get("passphrases", [])]
    others = [k for k in case.get("other_keys", []) if k["kind"] == slot.kind]
    if is_anonymous(slot):
        rsa = [load_der_private_key(bytes.fromhex(k["key"]), None) for k in others if k["type"] == "rsa-pkcs8"]
        return [key for key in rsa if (key.key_size + 7) // 8 == len(slot.wrapped)]
    return [bytes.fromhex(k["key"]) for k in others if k["type"] == "aes-256"]


def is_anonymous(slot):
    return slot.kind == 3 and slot.params[0] == 4  # and kind 5 (§ 4.5.9)


def hold_back(slot, case, spent):
    """Says why a slot that a key could open is not tried with it, or counts the attempt."""
    if slot.kind == 2:
        return hold_back_argon2(slot, case.get("argon2") or {}, spent)
    if is_anonymous(slot):  # § 4.5.9
        if not case.get("allow_anonymous"):
            return "a slot that anyone can have made is not tried"
    if slot.kind in (3, 4):  # § 4.5.7
        if spent[slot.kind] == 4:
            return f"4 attempts with kind {slot.kind} were made"
        spent[slot.kind] += 1
    return None


def hold_back_argon2(slot, policy, spent):
    """§ 4.5.8. A run is one passphrase with one slot."""
    t, m = unpack_from("<II", slot.params, 4)
    if m > (policy.get("max_memory_kib") or 2**20):
        return "Argon2 memory over the policy"
    if spent["runs"] == (policy.get("max_runs") or 4):
        return "Argon2 runs over the policy"
    if spent["work"] + t * m > (policy.get("max_work_kib") or 2**22):
        return "Argon2 work over the policy"
    spent["runs"] += 1
    spent["work"] += t * m
    return None


def unwrap(slot, key, bind):
    """FK, or None if the slot does not fit."""
    if slot.kind == 1:
        return unwrap_kek(slot.wrapped, expand(extract(slot.salt, key), b"coffer v1 kek account"), bind)
    if slot.kind == 2:
        _, p, _, t, m, _ = unpack("<BBHIII", slot.params)
        return unwrap_kek(slot.wrapped, hash_secret_raw(key, slot.salt, t, m, p, 32, Type.ID, 0x13), bind)
    plain = unwrap_token(slot, key, bind)  # FK ‖ bind (§ 4.5.6)
    if plain is None or len(plain) != 64 or not hmac.compare_digest(plain[32:], bind):
        return None
    return plain[:32]


def unwrap_kek(wrapped, kek, bind):
    """§ 4.5.3"""
    c, tag = wrapped[:32], wrapped[32:]
    k_wrap = expand(kek, b"coffer v1 wrap mac" + bind)
    if not hmac.compare_digest(tag, hmac.digest(k_wrap, c, "sha256")):
        return None
    pad = expand(kek, b"coffer v1 wrap pad" + bind)
    return bytes(x ^ y for x, y in zip(c, pad))


def unwrap_token(slot, key, bind):
    """What a token or service would decrypt, or None. Tink's prefix is 0x01 and a key id."""
    wrapped = slot.wrapped
    try:
        if slot.kind == 4:
            if wrapped[0] != 1 or len(wrapped) < 5 + 12 + 16:
                return None
            return AESGCM(key).decrypt(wrapped[5:17], wrapped[17:], bind)
        mech = slot.params[0]
        if mech == 1:
            return AESGCM(key).decrypt(wrapped[:12], wrapped[12:], None)
        if mech == 2:
            return keywrap.aes_key_unwrap(key, wrapped)
        if mech == 3:
            return keywrap.aes_key_unwrap_with_padding(key, wrapped)
        return key.decrypt(wrapped, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    except (InvalidTag, keywrap.InvalidUnwrap, ValueError):
        return None


def unlock(blocks, case):
    """§ 8.1.3 and § 8.1.4: returns the block that opened, and the keys of the file."""
    context = bytes.fromhex(case.get("context") or "")
    block, fk = find_file_key(blocks, case)
    keys = derive(block, fk, context)
    check(mac_verifies(block, keys.k_mac), "auth", "header MAC")
    check(block.bound == bool(context), "context", "a context where none is expected, or none where one is")
    check(not context or hmac.compare_digest(block.context_tag, keys.context_tag), "context", "another context")
    check(block.generation >= case.get("min_generation", 0), "limit", "generation below the least")
    # A segment, its zstd frame, and one more for what holds them.
    check(3 * block.segment <= (case.get("max_memory") or 2**30), "limit", "memory for one segment")
    return block, keys
