package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
)

// parseDelays reads delays in the order in which they happen, and returns them as a
// descriptor has them, which begins with the one before the last attempt.
func parseDelays(s string) ([]int64, error) {
	delays := []int64{} // not null in the descriptor
	if s == "none" {
		return delays, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		d, err := time.ParseDuration(part)
		if err != nil || d < 0 || d > 7*24*time.Hour || d%time.Second != 0 || len(delays) == vault.MaxAttempts {
			return nil, fmt.Errorf("want none, or up to %d times of whole seconds, none longer than a week, as in 30s,5m,24h", vault.MaxAttempts)
		}
		delays = append(delays, int64(d/time.Second))
	}
	if !slices.IsSorted(delays) {
		return nil, errors.New("they do not grow: want them in the order in which they happen, the one before the last attempt at the end, as in 30s,5m,24h")
	}
	slices.Reverse(delays)
	return delays, nil
}

// happening returns the delays of a descriptor that there are with so many attempts, in
// the order in which they happen. The last one comes before the last attempt.
func happening(attempts uint8, delays []int64) (all []time.Duration) {
	for _, seconds := range delays[:min(len(delays), int(attempts)-1)] {
		all = append(all, time.Duration(seconds)*time.Second)
	}
	slices.Reverse(all)
	return all
}

// policyText says what a guesser has to do with.
func policyText(attempts uint8, delays []int64) string {
	all := happening(attempts, delays)
	text := fmt.Sprintf("%d wrong passwords in a row destroy a record", attempts)
	if len(all) == 0 {
		return text + ", without a delay between them"
	}
	parts := make([]string, len(all))
	for i, d := range all {
		parts[i] = durationText(d)
	}
	last := int(attempts) - 1
	numbers := fmt.Sprint(last)
	if first := last - len(all) + 1; first < last {
		numbers = fmt.Sprintf("%d to %d", first, last)
	}
	return fmt.Sprintf("%s, with delays after number %s: %s", text, numbers, strings.Join(parts, ", "))
}

// durationText returns d as --delays takes it: 24h, not 24h0m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ksfOf returns cost as a descriptor has it.
func ksfOf(cost format.PassphraseParams) vault.KSF {
	// 255 is over its limit too.
	return vault.KSF{Name: "argon2id", KiB: cost.MemoryKiB, Time: uint8(min(cost.Time, 255)), Lanes: cost.Parallelism}
}

// changeKSF returns k with what text says of it, if clients would take that.
func changeKSF(k vault.KSF, text string) (format.PassphraseParams, error) {
	cost, err := changeCost(format.PassphraseParams{Time: uint32(k.Time), MemoryKiB: k.KiB, Parallelism: k.Lanes}, text)
	if err != nil {
		return cost, err
	}
	// What clients take is what a descriptor can have, so one is made.
	public, root, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return cost, err
	}
	scalar := evaluator.NewScalar()
	point := scalar.Public()
	_, err = (&vault.Descriptor{
		Version: 1, Root: vault.Base64(public), Revision: 1, Max: vault.DefaultAttempts,
		Statement: point[:], AKE: []vault.AKE{{Key: point[:]}}, KSF: ksfOf(cost),
	}).Sign(root)
	return cost, err
}
