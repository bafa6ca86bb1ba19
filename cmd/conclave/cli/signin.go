package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

const (
	signInEvery  = time.Second     // between looks at a sign-in
	signInCancel = 5 * time.Second // for a node to end one
	signInMisses = 10              // looks in a row that may fail: a node may be restarting
)

func (a *app) providerSignIn() *cobra.Command {
	var b client.BeginSignIn
	cmd := &cobra.Command{
		Use:   "signin NAME",
		Short: "Sign in at a provider that answers for a person (github_copilot, chatgpt), and keep the token in a credential",
		Long: `Sign in at a provider that answers for a person, and not for a key: github_copilot, chatgpt. It prints a page and a
code, and waits until you have entered the code there in a browser. The token goes into the credential, which is made if
it is not there, and is shown to nobody. Enter no code that somebody else gives you: he would get the sign-in.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if b.Credential == "" {
				b.Credential = args[0]
			}
			s, err := a.Client().BeginSignIn(cmd.Context(), args[0], b)
			if err != nil {
				return err
			}
			a.SaySo(false, "open   %s\nenter  %s\nwaiting until %s; Ctrl-C cancels", s.VerificationURL, s.UserCode, s.ExpiresAt.Local().Format("15:04:05"))
			s, err = a.awaitSignIn(cmd.Context(), s)
			if err != nil {
				return err
			}
			if err := a.PrintOne(s); err != nil {
				return err
			}
			if s.State != client.SignInDone {
				return &console.ExitError{Code: 1, Err: signInEnded(s)}
			}
			a.SaySo(false, "signed in: the credential %s has the token", s.Credential)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.Credential, "credential", "", "id or name of the credential; a new name makes one (default NAME)")
	f.StringToStringVar(&b.Options, "option", nil, "NAME=VALUE of a new credential, such as github_url=https://company.ghe.com")
	return cmd
}

// signInEnded says why a sign-in gave nothing.
func signInEnded(s client.SignIn) error {
	if s.Error == "" {
		return fmt.Errorf("the sign-in was %s; nothing is stored", s.State)
	}
	return fmt.Errorf("the sign-in ended as %s: %s; nothing is stored", s.State, s.Error)
}

// awaitSignIn waits until a sign-in has ended, and cancels it if ctx ends before. What passes, such as a node that
// restarts, is borne for a while; the sign-in itself is lost if its own node restarts.
func (a *app) awaitSignIn(ctx context.Context, s client.SignIn) (client.SignIn, error) {
	for misses := 0; s.State == client.SignInPending; {
		timer := time.NewTimer(signInEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return s, a.cancelSignIn(ctx, s)
		case <-timer.C:
		}
		now, err := a.Client().SignIn(ctx, s.ID)
		switch {
		case err == nil:
			s, misses = now, 0
		case ctx.Err() != nil:
			return s, a.cancelSignIn(ctx, s)
		default:
			p, said := errors.AsType[*client.Problem](err)
			if misses++; said && p.Status < 500 || misses >= signInMisses {
				return s, err
			}
		}
	}
	return s, nil
}

// cancelSignIn cancels a sign-in that nobody waits for any more. Its error is why: ctx is over.
func (a *app) cancelSignIn(ctx context.Context, s client.SignIn) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), signInCancel)
	defer cancel()
	now, err := a.Client().CancelSignIn(end, s.ID)
	switch {
	case err != nil:
		a.SaySo(false, "the sign-in is not cancelled (%v); its code ends at %s", err, s.ExpiresAt.Local().Format("15:04:05"))
	case now.State == client.SignInCancelled:
		a.SaySo(false, "the sign-in is cancelled; nothing is stored")
	default:
		a.SaySo(false, "too late to cancel: the sign-in is %s", now.State)
	}
	return ctx.Err()
}
