package vault

import (
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault/wire"
)

// TestErrorTexts: they say what to do.
func TestErrorTexts(t *testing.T) {
	then := time.Date(2030, 5, 6, 7, 8, 9, 0, time.Local)
	for _, tc := range []struct {
		err  error
		says []string
	}{
		{&WrongPasswordError{Left: 7, Max: 10, Ready: then}, []string{"7 of 10 attempts", "2030-05-06 07:08:09"}},
		{&WrongPasswordError{Left: 9, Max: 10}, []string{"9 of 10 attempts are left"}},
		{&TombstoneError{Cause: wire.CauseAttempts, Time: then}, []string{"the last attempt", "2030-05-06", "account key"}},
		{&TombstoneError{Cause: wire.CauseOwner, Time: then}, []string{"by its owner"}},
		{&TombstoneError{Cause: wire.CauseOperator, Time: then}, []string{"operator"}},
		{&StateError{Call: wire.CallStart, Code: wire.Busy, Until: then}, []string{"Start: ", "under way", "2030-05-06"}},
		{&StateError{Call: wire.CallStart, Code: wire.Wait, Until: then}, []string{"2030-05-06"}},
		{&StateError{Call: wire.CallStart, Code: wire.Wait}, []string{"try again later"}},
		{&StateError{Call: wire.CallStart, Code: wire.Frozen, Until: then}, []string{"unfreeze it with the account key"}},
		{&StateError{Call: wire.CallStart, Code: wire.Frozen}, []string{"operator"}},
		{&StateError{Call: wire.CallStart, Code: wire.Used}, []string{"get another"}},
		{&StateError{Call: wire.CallFinish, Code: wire.Stale}, []string{"start again"}},
		{&StateError{Call: wire.CallOwner, Code: wire.Stale}, []string{"not the newest"}},
		{&StateError{Call: wire.CallFinish, Code: wire.Conflict}, []string{"start again"}},
		{&StateError{Call: wire.CallRegPut, Code: wire.Conflict}, []string{"clock"}},
		{&StateError{Call: wire.CallRegDone, Code: wire.NeedOwner}, []string{"password or its account key"}},
		{&StateError{Call: wire.CallRegBegin, Code: wire.OldDescriptor}, []string{"descriptor"}},
		{&StateError{Call: wire.CallStart, Code: wire.Unavailable}, []string{"later", "counted"}},
		{&StateError{Call: wire.CallFinish, Code: wire.Failed}, []string{"start again"}},
	} {
		text := tc.err.Error()
		for _, s := range append(tc.says, "vault: ") {
			if !strings.Contains(text, s) {
				t.Errorf("%q does not say %q", text, s)
			}
		}
		if strings.HasSuffix(text, ".") || strings.Contains(text, "\n") {
			t.Errorf("%q is no text of an error", text)
		}
	}
}
