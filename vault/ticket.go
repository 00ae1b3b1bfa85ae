package vault

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A TicketOp is what a ticket is for.
type TicketOp string

// What tickets are for.
const (
	TicketRecover  TicketOp = "recover"  // an attempt with a password
	TicketRegister TicketOp = "register" // a registration
	TicketOwner    TicketOp = "owner"    // a request that the owner key signs
	TicketStatus   TicketOp = "status"
)

// Lifetimes of tickets.
const (
	MaxTicketTime = 10 * time.Minute
	ticketSkew    = 2 * time.Minute
)

const ticketType = "coffer-vault-ticket+jwt"

// MaxCredential is the greatest length of a credential id. It is made of letters,
// digits and "._~@+-".
const MaxCredential = 128

// ErrCredential is wrapped by the error about what is no credential id.
var ErrCredential = errors.New("vault: not a credential id")

// CheckCredential reports whether id can name a record: 1 to 128 letters of ASCII,
// digits, and ".", "_", "~", "@", "+" and "-".
func CheckCredential(id string) error {
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '~', c == '@', c == '+', c == '-':
		default:
			return fmt.Errorf("%w: %.140q: it is made of letters, digits and . _ ~ @ + -", ErrCredential, id)
		}
	}
	if id == "" || len(id) > MaxCredential {
		return fmt.Errorf("%w: it has %d characters, not 1 to %d", ErrCredential, len(id), MaxCredential)
	}
	return nil
}

// An Issuer makes tickets: it is the application whose users the records are. Who has
// its key can spend the attempts of every record, and read none.
type Issuer struct {
	ID    string // the key id that the vault knows it by
	Key   ed25519.PrivateKey
	Vault string // the vault's id
}

// Format redacts in fmt.
func (i Issuer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "vault.Issuer(%s)", i.ID) }

// LogValue redacts in log/slog.
func (i Issuer) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(i)) }

// MarshalText redacts in encoders.
func (i Issuer) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(i)), nil }

// claims are those of a ticket.
type claims struct {
	jwt.RegisteredClaims
	Op TicketOp `json:"op"`
}

// Ticket returns a ticket of that credential id, for one use within MaxTicketTime.
func (i *Issuer) Ticket(credential string, op TicketOp, now time.Time) (string, error) {
	if err := CheckCredential(credential); err != nil {
		return "", err
	}
	if len(i.Key) != ed25519.PrivateKeySize {
		return "", errors.New("vault: the issuer has no key")
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Audience: jwt.ClaimStrings{i.Vault}, Subject: credential,
			ID:       base64.RawURLEncoding.EncodeToString(id),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(MaxTicketTime)),
		},
		Op: op,
	})
	t.Header["typ"], t.Header["kid"] = ticketType, i.ID
	return t.SignedString(i.Key)
}

// A ticket was verified.
type ticket struct {
	credential string
	id         string
	machine.Ticket
}

var errTicket = errors.New("vault: the ticket is refused")

// A gate verifies tickets.
type gate struct {
	vault   string
	issuers map[string]ed25519.PublicKey
	parser  *jwt.Parser
}

func newGate(vault string, issuers map[string]ed25519.PublicKey) *gate {
	return &gate{vault, issuers, jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithoutClaimsValidation(), // check does it
	)}
}

// verify returns the ticket that text is, if it is for op at now.
func (g *gate) verify(text string, op TicketOp, now time.Time) (*ticket, error) {
	if len(text) > wire.MaxTicket || strings.ContainsAny(text, "\r\n") { // base64 skips these
		return nil, errTicket
	}
	var c claims
	_, err := g.parser.ParseWithClaims(text, &c, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		key := g.issuers[kid]
		// What is critical (RFC 7515 § 4.1.11) is not known here, whatever it is.
		if typ, _ := t.Header["typ"].(string); typ != ticketType || key == nil || t.Header["crit"] != nil {
			return nil, errTicket
		}
		return key, nil
	})
	if err != nil {
		return nil, errTicket
	}
	for _, segment := range strings.SplitN(text, ".", 3)[:2] {
		if object, err := g.parser.DecodeSegment(segment); err != nil || !distinct(object) {
			return nil, errTicket
		}
	}
	return g.check(&c, op, now)
}

// distinct reports whether no name is in a JSON object twice: of two, Go reads the last,
// in capitals too, and others the first.
func distinct(object []byte) bool {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	var names []string
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			return false
		}
		names = append(names, name)
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return false
		}
	}
	return true
}

// check looks at the claims of a ticket whose signature is right.
func (g *gate) check(c *claims, op TicketOp, now time.Time) (*ticket, error) {
	switch {
	case len(c.Audience) != 1 || c.Audience[0] != g.vault:
	case CheckCredential(c.Subject) != nil:
	case c.Op != op:
	case len(c.ID) < 16 || len(c.ID) > 64:
	case c.IssuedAt == nil || c.ExpiresAt == nil:
	case c.ExpiresAt.Before(c.IssuedAt.Time) || c.ExpiresAt.Sub(c.IssuedAt.Time) > MaxTicketTime:
	case c.IssuedAt.After(now.Add(ticketSkew)) || !now.Before(c.ExpiresAt.Add(ticketSkew)):
	default:
		t := &ticket{credential: c.Subject, id: c.ID}
		sum := sha256.Sum256([]byte(c.ID))
		copy(t.Hash[:], sum[:])
		t.Expires = c.ExpiresAt.Add(ticketSkew).Unix()
		return t, nil
	}
	return nil, errTicket
}
