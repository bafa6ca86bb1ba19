package post

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// Mail is a letter.
type Mail struct {
	ID      string // of the letter: the same for each try
	Subject string
	Text    string
}

// letter is an alert as a mail.
func letter(a *alert.Alert) (subject, text string) {
	what := a.Subject
	if a.Name != "" {
		kind, _ := a.Holder()
		what = kind + " " + a.Name
	}
	subject = "[conclave] " + strings.ReplaceAll(a.Kind, "_", " ") + ": " + what
	text = a.Sentence() + "\n\nTime: " + a.At.Std().Format(time.RFC1123Z) + "\nAlert: " + a.ID + "\nKind: " + a.Kind + "\nSubject: " + a.Subject + "\n"
	return subject, text
}

// Mail sends a letter through the mail server of a channel.
func (p *Post) Mail(ctx context.Context, c *channel.Channel, to []string, m Mail) error {
	if len(to) == 0 {
		return errors.New("the channel and the alert name no address")
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return errors.New("from of the channel is not an address")
	}
	s, hangUp, err := p.greet(ctx, c, from.Address)
	if err != nil {
		return fmt.Errorf("mail server %s: %w", c.Host, err)
	}
	defer hangUp()
	if err := transfer(s, from.Address, to, p.compose(from, to, m)); err != nil {
		return fmt.Errorf("mail server %s: %w", c.Host, err)
	}
	return nil
}

// greet connects, encrypts and signs in. hangUp ends it all.
func (p *Post) greet(ctx context.Context, c *channel.Channel, from string) (s *smtp.Client, hangUp func(), err error) {
	conn, err := p.cfg.Dialer.DialContext(ctx, "tcp", c.Host)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	hangUp = func() {
		stop()
		_ = conn.Close()
	}
	if s, err = p.signIn(ctx, conn, c, from); err != nil {
		hangUp()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, nil, err
	}
	return s, hangUp, nil
}

func (p *Post) signIn(ctx context.Context, conn net.Conn, c *channel.Channel, from string) (*smtp.Client, error) {
	host, _, err := net.SplitHostPort(c.Host)
	if err != nil {
		return nil, err
	}
	conf, err := p.tls(ctx, c.CA, host)
	if err != nil {
		return nil, err
	}
	if c.TLS == channel.ImplicitTLS {
		conn = tls.Client(conn, conf)
	}
	s, err := smtp.NewClient(conn, host)
	if err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(from, "@")
	if err := s.Hello(domain); err != nil {
		return nil, err
	}
	if c.TLS == "" || c.TLS == channel.StartTLS {
		if ok, _ := s.Extension("STARTTLS"); !ok {
			return nil, errors.New(`it does not offer STARTTLS; if that is meant to be so, say tls = "none"`)
		}
		if err := s.StartTLS(conf); err != nil {
			return nil, err
		}
	}
	if c.User == "" {
		return s, nil
	}
	password, err := p.cfg.Secret(c.Credential)
	if err != nil {
		return nil, err
	}
	return s, s.Auth(authOf(s, host, c.User, password.Reveal()))
}

// authOf chooses how to sign in: PLAIN, or LOGIN where the server knows that alone.
func authOf(s *smtp.Client, host, user, password string) smtp.Auth {
	_, offered := s.Extension("AUTH")
	ways := strings.Fields(strings.ToUpper(offered))
	if !slices.Contains(ways, "PLAIN") && slices.Contains(ways, "LOGIN") {
		return &login{plain: smtp.PlainAuth("", user, password, host), user: user, password: password}
	}
	return smtp.PlainAuth("", user, password, host)
}

// login is the mechanism LOGIN, which some servers know alone.
type login struct {
	plain          smtp.Auth // judges whether the connection may carry a password
	user, password string
}

// Start implements smtp.Auth.
func (l *login) Start(s *smtp.ServerInfo) (string, []byte, error) {
	if _, _, err := l.plain.Start(s); err != nil {
		return "", nil, err
	}
	return "LOGIN", nil, nil
}

// Next implements smtp.Auth.
func (l *login) Next(asked []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	switch strings.ToLower(strings.TrimSuffix(strings.TrimSpace(string(asked)), ":")) {
	case "username", "user name":
		return []byte(l.user), nil
	case "password":
		return []byte(l.password), nil
	}
	return nil, errors.New("it asks for neither user name nor password")
}

func transfer(s *smtp.Client, from string, to []string, body []byte) error {
	if err := s.Mail(from); err != nil {
		return err
	}
	for _, a := range to {
		if err := s.Rcpt(a); err != nil {
			return err
		}
	}
	w, err := s.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = s.Quit() // the server has it
	return nil
}

// compose writes the letter (RFC 5322). A text cannot add a header: the subject is encoded, and
// addresses were checked when they were saved.
func (p *Post) compose(from *mail.Address, to []string, m Mail) []byte {
	_, domain, _ := strings.Cut(from.Address, "@")
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from.String()},
		{"To", strings.Join(to, ", ")},
		{"Subject", mime.QEncoding.Encode("utf-8", strings.Join(strings.Fields(m.Subject), " "))},
		{"Date", p.cfg.Now().UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + m.ID + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(strings.ReplaceAll(m.Text, "\n", "\r\n"))) // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}
