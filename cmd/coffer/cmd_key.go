package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/keys"
)

func newKey(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make and show keys",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyNew(u), newKeyShow(u), newKeyID(u), newKeyRecipient(u))
	return cmd
}

func newKeyNew(u *ui) *cobra.Command {
	var path string
	var recipient bool
	cmd := &cobra.Command{
		Use:   "new [--recipient] -o KEYFILE",
		Short: "Make a new account key, or a recipient and its secret key",
		Long: `Make a new account key in KEYFILE, which only its owner may read. An existing file
is never replaced. "coffer key show" shows the digits, to be kept by hand as well.

With --recipient make a secret key instead, and print its recipient, which is public: a
machine that has nothing but the recipient writes backups that it cannot read, and only
KEYFILE, which need not be there, opens them. The keys are post-quantum: X-Wing, which
is ML-KEM-768 and X25519. Anyone who has the recipient can make a backup that KEYFILE
opens: "coffer restore --help" says what that means.`,
		Example: `  coffer key new -o ~/coffer.key
  coffer key new --recipient -o ~/restore.key > recipients
  coffer backup --recipients-file recipients -o docs.coffer ~/Documents`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if path == "" {
				return usagef("-o KEYFILE is missing: the file that the new key is written to")
			}
			if recipient {
				return u.newRecipient(path)
			}
			k, err := writeNewKey(path)
			if err != nil {
				return err
			}
			u.newKey(path, k.AccountKey, false)
			return nil
		},
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "write the key to this `KEYFILE`")
	cmd.Flags().BoolVar(&recipient, "recipient", false, "make the secret key of a recipient, and print the recipient")
	return cmd
}

// keyObject is a key with --json. An account key has an id, a secret key a recipient.
type keyObject struct {
	Type      string `json:"type"`
	ID        string `json:"key_id,omitempty"`
	Path      string `json:"path"`
	Text      string `json:"text,omitempty"`
	Recipient string `json:"recipient,omitempty"`
}

// newKey tells people about a new account key, and shows its digits if asked to.
// Programs have the file; the digits stay out of their logs.
func (u *ui) newKey(path string, k *keys.AccountKey, show bool) {
	id := fmt.Sprintf("%x", k.ID())
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.json {
		_ = u.object(keyObject{Type: "key", ID: id, Path: path})
		return
	}
	fmt.Fprintf(u.stderr, "new account key %s in %s\n", id, quoteName(path))
	if show {
		fmt.Fprintf(u.stderr, "Keep these digits somewhere else too; without them nobody can restore:\n\n  %s\n\n", k.Text())
	}
}

// newRecipient makes a secret key in a file and prints its recipient.
func (u *ui) newRecipient(path string) error {
	k := keys.GenerateHybridIdentity()
	if err := writeKeyFile(path, keys.MarshalIdentityFile(k, time.Now())); err != nil {
		return err
	}
	u.note("new secret key in %s: without it nobody can restore what is written for its recipient", quoteName(path))
	text := k.Recipient().String()
	return u.print(keyObject{Type: "key", Path: path, Recipient: text}, text)
}

func newKeyShow(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "show KEYFILE",
		Short: "Show an account key's digits, or secret keys",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return eachKey(args[0], func(k key) error {
				o := keyObject{Type: "key", Path: args[0]}
				switch k := k.(type) {
				case accountKey:
					o.ID, o.Text = fmt.Sprintf("%x", k.ID()), k.Text()
				case *keys.HybridIdentity:
					o.Recipient, o.Text = k.Recipient().String(), k.Text()
				}
				return u.print(o, o.Text)
			})
		},
	}
}

func newKeyID(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "id KEYFILE",
		Short: "Show the public id of an account key",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return eachKey(args[0], func(k key) error {
				account, ok := k.(accountKey)
				if !ok {
					return usagef("%s: a secret key has no id: use coffer key recipient", quoteName(args[0]))
				}
				id := fmt.Sprintf("%x", account.ID())
				return u.print(keyObject{Type: "key", ID: id, Path: args[0]}, id)
			})
		},
	}
}

func newKeyRecipient(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "recipient KEYFILE",
		Short: "Show the recipient of a secret key",
		Long: `Show the recipients of the secret keys in KEYFILE, one a line: what --recipient and
--recipients-file take. They are public.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return eachKey(args[0], func(k key) error {
				secret, ok := k.(*keys.HybridIdentity)
				if !ok {
					return usagef("%s: an account key has no recipient, as it is no key pair: make one with coffer key new --recipient", quoteName(args[0]))
				}
				text := secret.Recipient().String()
				return u.print(keyObject{Type: "key", Path: args[0], Recipient: text}, text)
			})
		},
	}
}

func eachKey(path string, do func(key) error) error {
	found, err := readKeyFile(path)
	if err != nil {
		return err
	}
	for _, k := range found {
		if err := do(k); err != nil {
			return err
		}
	}
	return nil
}
