package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/docker"
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
	usually := collectSeldom()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	if err := privilege.Check(); err != nil {
		return err
	}
	log := newLog(stderr, f.logFormat, f.logLevel)
	raiseOpenFiles(log)
	handed, err := takeHanded()
	if err != nil {
		return err
	}
	listeners, err := handed.listen(f)
	if err != nil {
		return err
	}
	defer listeners.close()
	f.config.Warnings = restrict(log) // now: the socket's group is set, which takes CAP_CHOWN
	f.config.Log, f.config.Version = log, programVersion()
	f.config.Socket, f.config.HandOn = handed.kept, keep(log)
	if spool, err := client.DetachSpool("unix://" + listeners.api.Addr().String()); err == nil { // of a socket without a path there is none
		f.config.DetachSpool = spool
	}
	e, err := engine.New(f.config)
	handed.kept.Close() // the engine has a descriptor of its own, where it takes it
	if err != nil {
		return err
	}
	return serve(ctx, e, servers(e, f, listeners, log), usually, log)
}

// restrict gives up the privileges that the daemon does not need. What can't be given up is returned for the administrator; that a build is
// one for tests is for its developer.
func restrict(log *slog.Logger) (warnings []string) {
	for _, err := range privilege.Restrict() {
		if errors.Is(err, privilege.ErrCgo) {
			log.Warn(err.Error())
			continue
		}
		warnings = append(warnings, err.Error())
	}
	return warnings
}

// server answers on a socket until ctx is done.
type server struct {
	socket net.Addr
	run    func(ctx context.Context) error
}

// servers are those of the API, and of Docker's plugin calls where somebody can make them.
func servers(e *engine.Engine, f *daemonFlags, l listeners, log *slog.Logger) []server {
	all := []server{{l.api.Addr(), func(ctx context.Context) error { return api.New(e, api.Options{Log: log}).Serve(ctx, l.api) }}}
	if l.plugin != nil {
		all = append(all, server{l.plugin.Addr(), func(ctx context.Context) error {
			return docker.New(e, docker.Options{Log: log, EngineSocket: f.dockerSocket}).Serve(ctx, l.plugin)
		}})
	}
	return all
}

// serve runs the engine and the servers: when ctx is done first the servers, which let the requests under way finish, then the
// engine. It calls started when the engine is ready, and everybody knows.
func serve(ctx context.Context, e *engine.Engine, servers []server, started func(), log *slog.Logger) error {
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.Run(engineCtx) })
	group.Go(func() error {
		defer stopEngine()
		serving, ctx := errgroup.WithContext(ctx)
		for _, s := range servers {
			serving.Go(func() error { return s.run(ctx) })
		}
		return serving.Wait()
	})
	group.Go(func() error {
		select {
		case <-e.Ready():
			for _, s := range servers {
				log.Info("ready", "socket", s.socket)
			}
			notify(log, daemon.SdNotifyReady)
			started()
		case <-ctx.Done():
		}
		<-ctx.Done()
		notify(log, daemon.SdNotifyStopping)
		return nil
	})
	return group.Wait()
}

func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
