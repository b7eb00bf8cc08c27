package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/engine"
	"github.com/bridged/bridged/internal/privilege"
)

func daemonCommand(a *app) *cobra.Command {
	var f daemonFlags
	cmd := &cobra.Command{
		Use:   "daemon [flags]",
		Short: "Run the daemon",
		Long: `Run the daemon in the foreground until SIGTERM or SIGINT. It makes the default bridge, takes over what an earlier run
left, and listens on its socket, or on the one that systemd gives it. When it ends, networks, sandboxes and published ports
stay as they are.`,
		Example: `  bridged daemon
  bridged daemon --bridge-name br0 --bip 10.1.0.1/24 --icc=false
  bridged daemon --config /etc/bridged/bridged.toml --log-level debug
  bridged daemon -b none --socket /tmp/b/sock --run-dir /tmp/b/run --state-dir /tmp/b/state`,
		Args: arguments(0, 0, ""),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.read(cmd); err != nil {
			return err
		}
		return runDaemon(cmd.Context(), &f, a.stderr)
	}
	return cmd
}

// runDaemon wires the parts and runs them until a signal comes.
func runDaemon(ctx context.Context, f *daemonFlags, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	if err := privilege.Check(); err != nil {
		return err
	}
	log := newLog(stderr, f.logFormat, f.logLevel)
	raiseOpenFiles(log)
	listener, err := listen(f.socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	for _, err := range privilege.Restrict() { // the socket's group is set: that takes CAP_CHOWN
		f.config.Warnings = append(f.config.Warnings, err.Error())
	}
	f.config.Log, f.config.Version = log, programVersion()
	e, err := engine.New(f.config)
	if err != nil {
		return err
	}
	return serve(ctx, e, listener, log)
}

// serve runs the engine and the server: when ctx is done first the server, which lets the requests under way finish, then the
// engine.
func serve(ctx context.Context, e *engine.Engine, listener net.Listener, log *slog.Logger) error {
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.Run(engineCtx) })
	group.Go(func() error {
		defer stopEngine()
		return api.New(e, api.Options{Log: log}).Serve(ctx, listener)
	})
	group.Go(func() error {
		select {
		case <-e.Ready():
			log.Info("ready", "socket", listener.Addr())
			notify(log, daemon.SdNotifyReady)
		case <-ctx.Done():
		}
		<-ctx.Done()
		notify(log, daemon.SdNotifyStopping)
		return nil
	})
	return group.Wait()
}

// notify tells systemd, when it is there.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot notify systemd", "state", state, "error", err)
	}
}

// listen takes the socket that systemd gives, else makes the one at path.
func listen(path string) (net.Listener, error) {
	given, err := activation.Listeners()
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot take systemd's sockets: %w", err)
	case len(given) == 0:
		return api.Listen(path)
	case len(given) > 1 || given[0] == nil || given[0].Addr().Network() != "unix":
		return nil, bridged.Errorf(bridged.ErrInvalid, "systemd gives %d sockets: want one, a stream socket of the family AF_UNIX", len(given))
	}
	return given[0], nil
}

func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
