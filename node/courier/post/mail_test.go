package post_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/courier/post"
	"github.com/conclave-llm/conclave/resource/channel"
)

// server is a mail server as far as the tests go (RFC 5321).
type server struct {
	t        *testing.T
	addr     string
	ca       string
	conf     *tls.Config
	implicit bool
	auth     string // mechanisms that it offers once the connection is encrypted
	plain    bool   // it does not offer STARTTLS
	reject   string // address that it refuses
	silent   bool   // it says nothing

	mu   sync.Mutex
	got  []letter
	wg   sync.WaitGroup
	user string // that signed in last, with the password
}

// letter is what the server was given.
type letter struct {
	from string
	to   []string
	data string
}

func (s *server) start(t *testing.T) *server {
	t.Helper()
	web := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	s.conf = &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	s.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	web.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.t, s.addr = t, l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				defer func() { _ = conn.Close() }()
				s.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		s.wg.Wait()
	})
	return s
}

func (s *server) serve(conn net.Conn) {
	encrypted := s.implicit
	if s.implicit {
		conn = tls.Server(conn, s.conf)
	}
	if s.silent {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	r := bufio.NewReader(conn)
	say := func(text string) { _, _ = fmt.Fprintf(conn, "%s\r\n", text) }
	say("220 test ESMTP")
	var m letter
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-test")
			if !encrypted && !s.plain {
				say("250-STARTTLS")
			}
			if s.auth != "" && encrypted {
				say("250-AUTH " + s.auth)
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go on")
			conn = tls.Server(conn, s.conf)
			r, encrypted = bufio.NewReader(conn), true
		case "AUTH":
			s.signIn(r, say, rest)
		case "MAIL":
			m = letter{from: address(rest)}
			say("250 ok")
		case "RCPT":
			if a := address(rest); a == s.reject {
				say("550 no such mailbox")
			} else {
				m.to = append(m.to, a)
				say("250 ok")
			}
		case "DATA":
			say("354 go on")
			var b strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil || line == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(line, "."))
			}
			m.data = b.String()
			s.mu.Lock()
			s.got = append(s.got, m)
			s.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}

func (s *server) signIn(r *bufio.Reader, say func(string), rest string) {
	way, first, _ := strings.Cut(rest, " ")
	var user, password string
	switch way {
	case "PLAIN":
		b, _ := base64.StdEncoding.DecodeString(first)
		parts := strings.Split(string(b), "\x00")
		user, password = parts[1], parts[2]
	case "LOGIN":
		for _, ask := range []struct {
			what string
			into *string
		}{{"Username:", &user}, {"Password:", &password}} {
			say("334 " + base64.StdEncoding.EncodeToString([]byte(ask.what)))
			line, _ := r.ReadString('\n')
			b, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
			*ask.into = string(b)
		}
	}
	if password != "pass word" {
		say("535 no")
		return
	}
	s.mu.Lock()
	s.user = user
	s.mu.Unlock()
	say("235 yes")
}

func address(rest string) string {
	_, a, _ := strings.Cut(rest, "<")
	a, _, _ = strings.Cut(a, ">")
	return a
}

func (s *server) letters() []letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]letter(nil), s.got...)
}

func TestSend_Mail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		server *server // nil: one that offers what it should
		tls    string
		user   string
		creds  secrets
		to     []string
		want   string // part of the error; "": none
	}{
		{name: "STARTTLS", tls: channel.StartTLS},
		{name: "STARTTLS by default, PLAIN", server: &server{auth: "CRAM-MD5 PLAIN LOGIN"}, user: "u", creds: secrets{"smtp": "pass word"}},
		{name: "LOGIN", server: &server{auth: "LOGIN"}, user: "u", creds: secrets{"smtp": "pass word"}},
		{name: "implicit TLS", server: &server{implicit: true, auth: "PLAIN"}, tls: channel.ImplicitTLS, user: "u", creds: secrets{"smtp": "pass word"}},
		{name: "in clear", server: &server{plain: true}, tls: channel.NoTLS},
		{name: "addresses of the alert", to: []string{"x@corp.example"}},
		{name: "no STARTTLS", server: &server{plain: true}, want: "does not offer STARTTLS"},
		{name: "wrong password", server: &server{auth: "PLAIN"}, user: "u", creds: secrets{"smtp": "other"}, want: "535"},
		{name: "no credential", server: &server{auth: "PLAIN"}, user: "u", creds: secrets{}, want: "no credential"},
		{name: "an address is refused", server: &server{reject: "b@corp.example"}, want: "550"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.server == nil {
				tt.server = &server{}
			}
			s := tt.server.start(t)
			c := &channel.Channel{
				Name: "mail", Type: channel.Email, Host: s.addr, TLS: tt.tls, CA: s.ca, From: "Conclave <conclave@corp.example>",
				To: []string{"a@corp.example", "b@corp.example"}, User: tt.user,
			}
			if tt.user != "" {
				c.Credential = "smtp"
			}
			err := newPost(tt.creds).Send(t.Context(), c, tt.to, sample)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || len(s.letters()) != 0 {
					t.Fatalf("got %v and %d letters, want an error with %q", err, len(s.letters()), tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := tt.to
			if want == nil {
				want = c.To
			}
			got := s.letters()
			if len(got) != 1 || got[0].from != "conclave@corp.example" || strings.Join(got[0].to, " ") != strings.Join(want, " ") || s.user != tt.user {
				t.Fatalf("got %+v of %q", got, s.user)
			}
			checkLetter(t, got[0].data)
		})
	}
}

func checkLetter(t *testing.T, data string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "[conclave] budget threshold: team forschung ü" || m.Header.Get("Message-Id") != "<alrt_1@corp.example>" {
		t.Errorf("subject %q (%v), id %s", subject, err, m.Header.Get("Message-Id"))
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || !strings.Contains(string(body), `team "forschung ü" (t1) has reached 80 %: $81 of $100 are spent`) {
		t.Errorf("body %q, %v", body, err)
	}
}

func TestMail_UnknownAuthority(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	c := &channel.Channel{Name: "mail", Type: channel.Email, Host: s.addr, From: "a@b.c", To: []string{"d@e.f"}}
	err := newPost(nil).Send(t.Context(), c, nil, sample)
	if unknown := new(tls.CertificateVerificationError); !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
}

func TestMail_Silent(t *testing.T) {
	t.Parallel()
	s := (&server{silent: true}).start(t)
	c := &channel.Channel{Name: "mail", Type: channel.Email, Host: s.addr, From: "a@b.c"}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := newPost(nil).Mail(ctx, c, []string{"d@e.f"}, post.Mail{ID: "x", Subject: "a\r\nBcc: x@y.z", Text: "b"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the deadline has passed", err)
	}
	if err := newPost(nil).Mail(t.Context(), c, nil, post.Mail{}); err == nil {
		t.Error("a letter to nobody was sent")
	}
}

func TestMail_Headers(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	c := &channel.Channel{Name: "mail", Type: channel.Email, Host: s.addr, CA: s.ca, From: "a@b.c"}
	if err := newPost(nil).Mail(t.Context(), c, []string{"d@e.f"}, post.Mail{ID: "x", Subject: "a\r\nBcc: x@y.z", Text: "b\n.\nc"}); err != nil {
		t.Fatal(err)
	}
	m, err := mail.ReadMessage(strings.NewReader(s.letters()[0].data))
	if err != nil || m.Header.Get("Bcc") != "" || m.Header.Get("Subject") != "a Bcc: x@y.z" {
		t.Errorf("got %v, %v", m, err)
	}
	if body, _ := io.ReadAll(quotedprintable.NewReader(m.Body)); strings.ReplaceAll(string(body), "\r\n", "\n") != "b\n.\nc\n" && strings.ReplaceAll(string(body), "\r\n", "\n") != "b\n.\nc" {
		t.Errorf("body %q", body)
	}
}
