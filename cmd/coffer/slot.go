package main

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/coffer-backup/coffer/format"
)

// publicSlot is what inspect shows of a slot.
type publicSlot struct {
	Kind        uint16 `json:"kind"`
	SlotKind    string `json:"slot_kind,omitempty"` // as in --accept
	Name        string `json:"name"`
	Length      int    `json:"length"`
	KeyID       string `json:"key_id,omitempty"`
	Argon2Time  uint32 `json:"argon2_time,omitempty"`
	Argon2KiB   uint32 `json:"argon2_memory_kib,omitempty"`
	Parallelism uint8  `json:"argon2_parallelism,omitempty"`

	Mech string `json:"mech,omitempty"`

	// Hints, which whoever wrote the container chose: any bytes at all.
	ID     string `json:"id,omitempty"` // CKA_ID, hex
	Label  string `json:"label,omitempty"`
	Serial string `json:"token_serial,omitempty"`
	Alias  string `json:"alias,omitempty"`

	Writer    string `json:"written_by,omitempty"` // who may have made a container that it opens
	Anonymous bool   `json:"anyone_can_make,omitempty"`
}

func newPublicSlot(e format.Entry) publicSlot {
	p := publicSlot{Kind: uint16(e.Kind), Name: e.Kind.String(), Length: len(e.Data)}
	s, known, err := e.Slot()
	if err != nil || !known {
		return p
	}
	p.SlotKind = kindName(e.Kind)
	p.Anonymous = isPublic(s)
	switch e.Kind {
	case format.KindAccount:
		p.Writer = "who has the account key"
		if id := [format.KeyIDSize]byte(s.Params); id != [format.KeyIDSize]byte{} {
			p.KeyID = hex.EncodeToString(id[:])
		}
	case format.KindPassphrase:
		p.Writer = "who knows the passphrase"
		if cost, err := s.PassphraseParams(); err == nil {
			p.Argon2Time, p.Argon2KiB, p.Parallelism = cost.Time, cost.MemoryKiB, cost.Parallelism
		}
	case format.KindPKCS11:
		p.setToken(s)
	case format.KindTink:
		p.Writer = "who can use the keyset or KMS key"
		if alias, err := s.TinkAlias(); err == nil {
			p.Alias = alias
		}
	case format.KindHPKE:
		p.Writer = "anyone who has the recipient"
	}
	return p
}

func (p *publicSlot) setToken(s format.Slot) {
	p.Writer = "who can use the token's key"
	if p.Anonymous {
		p.Writer = "anyone who has the public half of the token's key"
	}
	params, err := s.PKCS11Params()
	if err != nil {
		return
	}
	p.Mech, p.ID, p.Label = params.Mech.String(), hex.EncodeToString(params.ID), string(params.Label)
	if params.Serial != [format.PKCS11SerialSize]byte{} {
		p.Serial = strings.TrimRight(string(params.Serial[:]), " \x00")
	}
}

// writer is what the slot says of who wrote the container.
func (p publicSlot) writer() string {
	if p.Anonymous {
		return "opened by this slot, it can be from " + p.Writer
	}
	return "opened by this slot, it is from someone " + p.Writer
}

func (p publicSlot) text() string {
	text := p.Name
	if p.Mech != "" {
		text += ", " + p.Mech
	}
	if p.KeyID != "" {
		text += ", key_id " + p.KeyID
	}
	if p.Argon2Time != 0 {
		text += fmt.Sprintf(", Argon2id t=%d, m=%s, p=%d", p.Argon2Time, byteCount(int64(p.Argon2KiB)<<10), p.Parallelism)
	}
	if p.ID != "" {
		text += ", id " + p.ID
	}
	for _, hint := range []struct{ name, value string }{{"label", p.Label}, {"token serial", p.Serial}, {"alias", p.Alias}} {
		if hint.value != "" { // always quoted: it must not pass for another field
			text += ", " + hint.name + " " + strconv.Quote(hint.value)
		}
	}
	return text
}
