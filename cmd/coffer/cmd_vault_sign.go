package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
)

// maxAKE is how many AKE keys a descriptor has at most.
const maxAKE = 16

// signFlags are those of coffer vault sign. What is zero stays as it is.
type signFlags struct {
	hsm      hsmFlags
	rootKey  string
	notice   *string
	attempts uint8
	delays   []int64
	cost     string
	newAKE   bool
}

func newVaultSign(u *ui) *cobra.Command {
	var s signFlags
	var notice string
	cmd := &cobra.Command{
		Use:   "sign DIR --root-key FILE [--notice TEXT] [--attempts N] [--delays TIMES] [--argon2 COST] [--new-ake]",
		Short: "Change what a vault states of itself",
		Long: `Sign the next revision of the descriptor in DIR with the changes that the flags say. The one
before is kept as descriptor.REVISION. Run it as the user who runs the vault, and restart the
vault afterwards, as it goes on with the old one until then. Clients that have seen a revision
take no older one.

Records keep the attempts, the cost and the AKE key of their registration; delays are the new
ones at once. --new-ake makes one more AKE key, for registrations from now on, in the place
where the vault's others are: back that up again. The others stay, as records need them.

` + vaultHSMHelp,
		Example: `  coffer vault sign /srv/vault --root-key /media/stick/root.key --notice 'Closed on Sunday.'`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("notice") {
				s.notice = &notice
			}
			return s.sign(cmd.Context(), u, args[0])
		},
	}
	fs := cmd.Flags()
	s.hsm.register(fs)
	fs.Var(single{&s.rootKey, "FILE"}, "root-key", "`FILE` with the vault's root key, root.key")
	fs.StringVar(&notice, "notice", "", "`TEXT` that clients show to people; '' ends it")
	parsedVar(fs, &s.attempts, "attempts", "N", "", fmt.Sprintf("wrong passwords, from %d to %d, that destroy a record", vault.MinAttempts, vault.MaxAttempts), parseAttempts)
	parsedVar(fs, &s.delays, "delays", "TIMES", "", delaysUsage, parseDelays)
	fs.Var(single{&s.cost, "COST"}, "argon2", "`COST`, as in t=3,m=64MiB,p=4: "+costUsage)
	fs.BoolVar(&s.newAKE, "new-ake", false, "make one more AKE key")
	return cmd
}

// A vaultSignObject is a new revision of a descriptor with --json.
type vaultSignObject struct {
	Type     string `json:"type"`
	Command  string `json:"command"`
	ID       string `json:"vault_id"`
	Revision uint32 `json:"revision"`
	AKE      uint16 `json:"ake"` // the newest
}

func (s *signFlags) sign(ctx context.Context, u *ui, path string) error {
	switch {
	case s.rootKey == "":
		return usagef("--root-key FILE is missing: the key that coffer vault init left in root.key")
	case s.notice == nil && s.attempts == 0 && s.delays == nil && s.cost == "" && !s.newAKE:
		return usagef("nothing is to change: use --notice, --attempts, --delays, --argon2 or --new-ake")
	}
	d, err := openVaultDir(path)
	if err != nil {
		return err
	}
	root, err := readSigningKey(s.rootKey)
	if err != nil {
		return err
	}
	defer clear(root)
	before, old, err := d.descriptor()
	if err != nil {
		return err
	}
	next := *old
	if err := s.change(&next); err != nil {
		return err
	}
	// Before an AKE key is made for it.
	if _, err := next.Sign(root); err != nil {
		return usagef("%s, %s: %w", quoteName(s.rootKey), quoteName(d.file(vaultDescriptorFile)), err)
	}
	if s.newAKE {
		ake, err := d.newAKE(ctx, s.hsm)
		if err != nil {
			return err
		}
		next.AKE = append(slices.Clip(next.AKE), ake)
	}
	signed, err := next.Sign(root)
	if err != nil {
		return usagef("%w", err)
	}
	if err := d.keepDescriptor(before, old.Revision); err != nil {
		return err
	}
	if err := d.replace(vaultDescriptorFile, signed); err != nil {
		return err
	}
	s.tell(u, d, old, &next)
	newest := next.AKE[len(next.AKE)-1].ID
	return u.summary(vaultSignObject{"summary", "sign", d.config.ID, next.Revision, newest},
		fmt.Sprintf("signed revision %d: restart the vault, which goes on with the old one until then", next.Revision))
}

// change makes the next revision.
func (s *signFlags) change(d *vault.Descriptor) error {
	switch {
	case d.Revision == math.MaxUint32:
		return usagef("there is no revision after %d", d.Revision)
	case s.newAKE && len(d.AKE) == maxAKE:
		return usagef("--new-ake: the vault has %d AKE keys, which is the most", maxAKE)
	}
	d.Revision++
	if s.notice != nil {
		d.Notice = *s.notice
	}
	if s.attempts != 0 {
		d.Max = s.attempts
	}
	if s.delays != nil {
		d.Delays = s.delays
	}
	if s.cost != "" {
		cost, err := changeKSF(d.KSF, s.cost)
		if err != nil {
			return usagef("--argon2: %w", err)
		}
		d.KSF = ksfOf(cost)
	}
	return nil
}

// tell says what is in force now, and loudly what protects less than before.
func (s *signFlags) tell(u *ui, d *vaultDir, old, next *vault.Descriptor) {
	u.note("%s", policyText(next.Max, next.Delays))
	if next.Max > old.Max {
		u.warn("MORE ATTEMPTS THAN BEFORE: %d wrong passwords destroy a record, it were %d", next.Max, old.Max)
	}
	if now, before := sum(happening(next.Max, next.Delays)), sum(happening(old.Max, old.Delays)); now < before {
		u.warn("SHORTER DELAYS THAN BEFORE: to use up all attempts takes %s at least, it took %s", durationText(now), durationText(before))
	}
	if a, b := next.KSF, old.KSF; a.KiB < b.KiB || uint64(a.KiB)*uint64(a.Time) < uint64(b.KiB)*uint64(b.Time) {
		u.warn("CHEAPER GUESSES THAN BEFORE for who has the vault's secrets: Argon2id with t=%d,m=%dKiB,p=%d, it was t=%d,m=%dKiB,p=%d",
			a.Time, a.KiB, a.Lanes, b.Time, b.KiB, b.Lanes)
	}
	switch {
	case !s.newAKE:
	case d.config.Mode == evaluator.ModeSoftware:
		u.warn("back up %s again: records that are registered from now on need the new AKE key in it", quoteName(d.file(vaultSecretsFile)))
	default:
		u.warn("clone the token again and back up %s again: records that are registered from now on need the new AKE key", quoteName(d.file(vaultConfigFile)))
	}
}

func sum(all []time.Duration) (total time.Duration) {
	for _, d := range all {
		total += d
	}
	return total
}

// keepDescriptor keeps a copy of the one that is replaced.
func (d *vaultDir) keepDescriptor(signed []byte, revision uint32) error {
	name := fmt.Sprintf("%s.%d", vaultDescriptorFile, revision)
	err := d.commit(name, signed, nil)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	// It is there if the last time did not come further.
	if kept, err := d.read(name); err != nil || !bytes.Equal(kept, signed) {
		return errors.Join(fmt.Errorf("%s is there, and is another one: move it away", quoteName(d.file(name))), err)
	}
	return nil
}

// newAKE makes one more AKE key where the vault's others are.
func (d *vaultDir) newAKE(ctx context.Context, h hsmFlags) (made vault.AKE, err error) {
	if d.config.Mode != evaluator.ModeSoftware {
		return d.newTokenAKE(ctx, h)
	}
	secrets, err := d.secrets()
	if err != nil {
		return made, err
	}
	id, err := nextAKE(secrets.AKE)
	if err != nil {
		return made, err
	}
	scalar := evaluator.NewScalar()
	defer scalar.Wipe()
	secrets.AKE[id] = scalar
	text, err := secrets.Append(nil)
	if err != nil {
		return made, err
	}
	defer clear(text)
	point := scalar.Public()
	return vault.AKE{ID: id, Key: point[:]}, d.replace(vaultSecretsFile, text)
}

// nextAKE returns an id that none of a vault's AKE keys has.
func nextAKE[K any](all map[uint16]K) (id uint16, err error) {
	for used := range all {
		id = max(id, used)
	}
	if id == math.MaxUint16 {
		return 0, errors.New("there is no id left for an AKE key")
	}
	return id + 1, nil
}
