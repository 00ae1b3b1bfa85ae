package main

import (
	"errors"

	"github.com/coffer-backup/coffer/keys"
)

var errNoRecipient = errors.New("this is an account key, which nobody else should see: only --key-file takes it, from a file")

// readRecipients returns the public recipients of the flags. A text that is none may
// be a secret by mistake: it is never quoted.
func (k *keyFlags) readRecipients() (to []keys.Recipient, err error) {
	for i, text := range k.recipients {
		r, err := keys.ParseHybridRecipient(text)
		if looksLikeKey([]byte(text)) {
			err = errNoRecipient
		}
		if err != nil {
			return nil, usagef("--recipient, number %d: %w", i+1, err)
		}
		to = append(to, r)
	}
	for _, path := range k.recipientsFiles {
		b, err := readLimited("recipients file", path, keys.MaxHybridFile)
		if err != nil {
			return nil, err
		}
		found, err := keys.ParseRecipientsFile(b)
		if _, keyErr := keys.ParseKeyFile(b); keyErr == nil {
			err = errNoRecipient
		}
		if err != nil {
			return nil, usagef("recipients file %s: %w", quoteName(path), err)
		}
		for _, r := range found {
			to = append(to, r)
		}
	}
	seen := make(map[string]bool)
	for _, r := range to {
		text := r.(*keys.HybridRecipient).String()
		if seen[text] {
			return nil, usagef("a recipient is given twice: somebody else's was to be there, perhaps, and they could not restore")
		}
		seen[text] = true
	}
	return to, nil
}
