package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/keys"
)

func newKey(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make and show account keys",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyNew(u), newKeyShow(u), newKeyID(u))
	return cmd
}

func newKeyNew(u *ui) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "new -o KEYFILE",
		Short: "Make a new account key",
		Long: `Make a new account key in KEYFILE, which only its owner may read. An existing file
is never replaced. "coffer key show" shows the digits, to be kept by hand as well.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if path == "" {
				return usagef("-o KEYFILE is missing: the file that the new key is written to")
			}
			k, err := writeNewKey(path)
			if err != nil {
				return err
			}
			u.newKey(path, k, false)
			return nil
		},
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "write the key to this `KEYFILE`")
	return cmd
}

type keyObject struct {
	Type string `json:"type"`
	ID   string `json:"key_id"`
	Path string `json:"path"`
	Text string `json:"text,omitempty"`
}

// newKey tells people about a new key, and shows its digits if asked to. Programs
// have the file; the digits stay out of their logs.
func (u *ui) newKey(path string, k *keys.AccountKey, show bool) {
	id := fmt.Sprintf("%x", k.ID())
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.json {
		_ = u.object(keyObject{"key", id, path, ""})
		return
	}
	fmt.Fprintf(u.stderr, "new account key %s in %s\n", id, quoteName(path))
	if show {
		fmt.Fprintf(u.stderr, "Keep these digits somewhere else too; without them nobody can restore:\n\n  %s\n\n", k.Text())
	}
}

func newKeyShow(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "show KEYFILE",
		Short: "Show the digits of an account key",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := readKeyFile(args[0])
			if err != nil {
				return err
			}
			return u.print(keyObject{"key", fmt.Sprintf("%x", k.ID()), args[0], k.Text()}, k.Text())
		},
	}
}

func newKeyID(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "id KEYFILE",
		Short: "Show the public id of an account key",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := readKeyFile(args[0])
			if err != nil {
				return err
			}
			id := fmt.Sprintf("%x", k.ID())
			return u.print(keyObject{"key", id, args[0], ""}, id)
		},
	}
}
