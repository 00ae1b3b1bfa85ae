package main

import (
	"slices"
	"strings"
)

// A tool is one way to make an encrypted backup of a file, and to have the file
// again. Commands are pipelines: words between spaces, programs between |, and
//
//	{name}        the file: relative to where backup runs, and to where restore does,
//	              which is an empty directory
//	{source}      the directory with the file alone
//	{out}         the container or repository, which does not exist at first
//	{home}        $HOME, new for each turn
//	{state}       a directory with coffer.key, age.key and passphrase, the same in all
//	              turns
//	{recipient}   of age.key
//	{passphrase}  the text of the passphrase
//	{cores}       how many there are
type tool struct {
	name    string
	variant string // what is set differently, "" if there is one only
	env     []string
	setup   []string // before each turn
	backup  string
	restore string
	finish  string // when all is done
}

// tools compress about as much as zstd -1 where that can be chosen, and have their
// defaults otherwise, those of encryption and authentication among them. So restic has
// its compression auto, which is about zstd -3, and rclone its check of what it wrote.
// Nobody has run the line of kopia for the project yet.
var tools = slices.Concat(coffer("coffer"), coffer("coffer-nocgo"), []tool{
	{
		name:    "zstd-age",
		variant: "zstd -1",
		backup:  "zstd -q -1 -T{cores} -c {name} | age -r {recipient} -o {out}",
		restore: "age -d -i {state}/age.key {out} | zstd -q -d -o {name}",
	}, {
		name:    "zstd-age",
		variant: "zstd defaults",
		backup:  "zstd -q -c {name} | age -r {recipient} -o {out}",
		restore: "age -d -i {state}/age.key {out} | zstd -q -d -o {name}",
	}, {
		name:    "age",
		backup:  "age -r {recipient} -o {out} {name}",
		restore: "age -d -i {state}/age.key -o {name} {out}",
	}, {
		name:    "restic",
		env:     []string{"RESTIC_REPOSITORY={out}", "RESTIC_PASSWORD_FILE={state}/passphrase"},
		setup:   []string{"restic init"},
		backup:  "restic backup {name}",
		restore: "restic restore latest --target .",
	},
	borg("repokey"),        // HMAC-SHA-256: faster where the CPU has instructions for it
	borg("repokey-blake2"), // faster elsewhere
	{
		name:    "rclone-crypt",
		env:     []string{"RCLONE_CONFIG={home}/rclone.conf"},
		setup:   []string{"rclone config create peers crypt remote={out} password={passphrase} --obscure"},
		backup:  "rclone copyto {name} peers:{name}",
		restore: "rclone copyto peers:{name} {name}",
	}, {
		name: "zstd-gpg",
		// The agent measures once what a passphrase may cost: it is kept through all
		// turns, as a user's is.
		env:     []string{"GNUPGHOME={state}/gnupg"},
		setup:   []string{"gpgconf --launch gpg-agent"},
		backup:  "zstd -q -1 -T{cores} -c {name} | " + gpg + " -o {out} --symmetric --cipher-algo AES256 --compress-algo none",
		restore: gpg + " -d {out} | zstd -q -d -o {name}",
		finish:  "gpgconf --kill all",
	}, {
		name: "kopia",
		env:  []string{"KOPIA_PASSWORD={passphrase}", "KOPIA_CHECK_FOR_UPDATES=false"},
		setup: []string{
			"kopia repository create filesystem --path={out}",
			"kopia policy set --global --compression=zstd-fastest",
		},
		backup:  "kopia snapshot create {source}",
		restore: "kopia restore {source} .",
	},
})

const gpg = "gpg --batch --no-tty --quiet --pinentry-mode loopback --passphrase-file {state}/passphrase"

// coffer returns the ways to use a build of coffer. The default of seal is what the
// targets are about; backup adds a tar of one member, a catalog and padding.
func coffer(program string) []tool {
	const key = " --key-file {state}/coffer.key "
	open := program + " open" + key + "-o {name} {out}"
	return []tool{
		{name: program, variant: "default", backup: program + " seal" + key + "-o {out} {name}", restore: open},
		{name: program, variant: "no-check", backup: program + " seal --no-check" + key + "-o {out} {name}", restore: open},
		{name: program, variant: "backup", backup: program + " backup" + key + "-o {out} {name}", restore: program + " restore" + key + "{out}"},
	}
}

func borg(encryption string) tool {
	return tool{
		name:    "borg",
		variant: encryption,
		env:     []string{"BORG_REPO={out}", "BORG_PASSPHRASE={passphrase}"},
		setup:   []string{"borg init --encryption=" + encryption},
		backup:  "borg create --compression zstd,1 ::peers {name}",
		restore: "borg extract ::peers",
	}
}

// versionFlags are what a program prints its version for.
var versionFlags = map[string]string{
	"age": "--version", "borg": "--version", "coffer": "version", "coffer-nocgo": "version", "gpg": "--version",
	"kopia": "--version", "rclone": "version", "restic": "version", "zstd": "--version",
}

// programs returns those that a turn runs.
func (t *tool) programs() (names []string) {
	for stage := range strings.SplitSeq(t.backup, "|") {
		names = append(names, strings.Fields(stage)[0])
	}
	return names
}

func (t *tool) title() string { return strings.TrimSpace(t.name + " " + t.variant) }

func toolNames() (names []string) {
	for i := range tools {
		names = append(names, tools[i].name)
	}
	return slices.Compact(names)
}
