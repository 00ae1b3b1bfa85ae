package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

// maxTicketFile is room for some tickets.
const maxTicketFile = 16 * wire.MaxTicket

// A ticketSource gives the tickets that a vault.Client asks for.
type ticketSource struct {
	file, command string
	vault         string // id

	mu     sync.Mutex
	read   bool
	unused []string // of the file
}

// check fails if there are none, before anything is asked of a person or a vault.
func (s *ticketSource) check() error {
	if s.file+s.command == "" {
		return usagef("a ticket of the vault is needed: use --ticket-file or --ticket-command")
	}
	return nil
}

func (s *ticketSource) get(ctx context.Context, credential string, op vault.TicketOp) (string, error) {
	if s.command != "" {
		return s.run(ctx, credential, op)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.read {
		text, err := orDone(ctx, s.readFile)
		if err != nil {
			return "", err
		}
		if len(text) > maxTicketFile {
			return "", usagef("ticket file %s: longer than %s", quoteName(s.file), byteCount(maxTicketFile))
		}
		s.read, s.unused = true, strings.Fields(string(text))
	}
	for i, ticket := range s.unused {
		if purpose(ticket) == op {
			s.unused = append(s.unused[:i:i], s.unused[i+1:]...)
			return ticket, nil
		}
	}
	return "", usagef("ticket file %s: it has no ticket, or no other one, for the purpose %q", quoteName(s.file), op)
}

func (s *ticketSource) readFile() ([]byte, error) {
	if s.file == stdio {
		return io.ReadAll(io.LimitReader(os.Stdin, maxTicketFile+1))
	}
	return readLimited("ticket file", s.file, maxTicketFile)
}

func (s *ticketSource) run(ctx context.Context, credential string, op vault.TicketOp) (string, error) {
	text, err := orDone(ctx, func() ([]byte, error) {
		return outputOf("ticket command", shell(ctx, s.command,
			"COFFER_TICKET_VAULT="+s.vault, "COFFER_TICKET_CREDENTIAL="+credential, "COFFER_TICKET_OP="+string(op)), wire.MaxTicket+2)
	})
	if err != nil {
		return "", err
	}
	ticket := string(bytes.TrimSpace(text))
	if ticket == "" || strings.ContainsAny(ticket, " \r\n") {
		return "", errors.New("ticket command: it did not print a ticket, which is one word")
	}
	return ticket, nil
}

// purpose returns what a ticket says that it is for. The vault verifies it.
func purpose(ticket string) vault.TicketOp {
	_, rest, _ := strings.Cut(ticket, ".")
	body, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return ""
	}
	var claims struct {
		Op vault.TicketOp `json:"op"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return ""
	}
	return claims.Op
}
