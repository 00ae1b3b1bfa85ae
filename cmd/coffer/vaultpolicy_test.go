package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/vault"
)

// Delays are typed and told in the order in which they happen, and the descriptor has them
// the other way round.
func TestDelays(t *testing.T) {
	for text, want := range map[string][]int64{
		"none":                             {},
		"0s":                               {0},
		"1m30s":                            {90},
		"1h,1h":                            {3600, 3600},
		"30s,5m,30m,2h,8h,24h,24h":         vault.DefaultDelays(),
		strings.Repeat("1s,", 19) + "168h": append([]int64{604800}, slices.Repeat([]int64{1}, 19)...),
	} {
		if got, err := parseDelays(text); err != nil || got == nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1", "1ms", "-1s", "169h", "1s,", "24h,30s", "1s,1m,30s", strings.Repeat("1s,", 20) + "1s"} {
		if got, err := parseDelays(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestPolicyText(t *testing.T) {
	for _, test := range []struct {
		attempts uint8
		delays   []int64
		want     string
	}{
		{10, vault.DefaultDelays(), "10 wrong passwords in a row destroy a record, with delays after number 3 to 9: 30s, 5m, 30m, 2h, 8h, 24h, 24h"},
		{5, vault.DefaultDelays(), "5 wrong passwords in a row destroy a record, with delays after number 1 to 4: 2h, 8h, 24h, 24h"},
		{5, []int64{5400}, "5 wrong passwords in a row destroy a record, with delays after number 4: 1h30m"},
		{5, []int64{3601, 10}, "5 wrong passwords in a row destroy a record, with delays after number 3 to 4: 10s, 1h0m1s"},
		{5, nil, "5 wrong passwords in a row destroy a record, without a delay between them"},
	} {
		if got := policyText(test.attempts, test.delays); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestCheckHost(t *testing.T) {
	label := strings.Repeat("a", 63)
	name := strings.Repeat(label+".", 3) // 192
	for _, host := range []string{"localhost", "vault.example.org", "VAULT.example", "xn--bcher-kva.example", "3com", "a-b.c2", "127.0.0.1", "::1", "fd00::2", label, name + label[:61]} {
		if err := checkHost(host); err != nil {
			t.Error(err)
		}
	}
	for _, host := range []string{"", " ", "a b", "a.", ".a", "a..b", "-a", "a-", "a_b", "*.example.org", "a:8443", "[::1]", "fe80::1%eth0", "https://a", "a/", "bücher.example",
		"1.2.3", "1.2.3.400", "7", "a\n", label + "a", name + label[:62]} {
		if checkHost(host) == nil {
			t.Errorf("%q is taken", host)
		}
	}
}

func TestCheckListen(t *testing.T) {
	for _, address := range []string{":1", ":65535", "127.0.0.1:8443", "[::1]:443", "localhost:80"} {
		if err := checkListen(address, 1); err != nil {
			t.Error(err)
		}
	}
	for _, address := range []string{"", ":", "localhost", ":0", ":65536", ":-1", ":https", "::1:443", "a:1:2", ": 1"} {
		if checkListen(address, 1) == nil {
			t.Errorf("%q is taken", address)
		}
	}
	if err := checkListen("127.0.0.1:0", 0); err != nil {
		t.Error(err)
	}
}
