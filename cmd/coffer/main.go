// Command coffer makes encrypted backups that nobody but their owner can read.
//
//	coffer backup --new-key ~/coffer.key --verify -o ~/docs.coffer ~/Documents
//	coffer restore --key-file ~/coffer.key -C ~/restored ~/docs.coffer
//
// Run "coffer help" for the commands and the exit status.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// grace is how long a command that was interrupted may take to clean up. A read
// or write that hangs in the kernel would keep it for ever.
const grace = 2 * time.Second

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), catchable()...)
	defer stop()
	// A closed pipe is an error of the write, not the end of the process: there
	// may be a temporary file to remove.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	u := newUI(os.Stdout, os.Stderr)
	inTime := context.AfterFunc(ctx, func() {
		stop() // a second signal kills
		time.Sleep(grace)
		// It may be the output that hangs.
		last, cancel := context.WithTimeout(context.Background(), grace/8)
		defer cancel()
		_, _ = orDone(last, func() (struct{}, error) { u.error(errInterrupted); return struct{}{}, nil })
		os.Exit(exitInterrupted)
	})
	defer inTime()

	// What fails before the command starts is about the command line.
	started := false
	root := newRoot(u, &started)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !started {
		err = usagef("%w\nRun '%s --help' for usage.", err, cmd.CommandPath())
	}
	u.close()
	if ctx.Err() != nil && err != nil {
		err = errInterrupted
	}
	if err != nil {
		u.error(err)
	}
	return classify(err).code
}

// catchable lists the signals that end a command in order. One that was ignored
// when the process started, as nohup does, stays so.
func catchable() (sigs []os.Signal) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			sigs = append(sigs, s)
		}
	}
	return sigs
}

func newRoot(u *ui, started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "coffer",
		Short: "End-to-end encrypted backups that nobody but their owner can read",
		Long: `Coffer makes end-to-end encrypted backups that nobody but their owner can read.

` + keysHelp + `

` + exitHelp(),
		Version:       version().Version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) {
			*started = true
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolVar(&u.json, "json", false, "print one JSON object a line, for programs")
	root.PersistentFlags().BoolVarP(&u.quiet, "quiet", "q", false, "print neither progress nor a summary")
	root.AddCommand(
		newBackup(u), newRestore(u), newSeal(u), newOpen(u), newLs(u), newVerify(u),
		newInspect(u), newKey(u), newHSM(u), newVault(u), newQuickstart(u), newBackends(u), newVersion(u),
	)
	return root
}
