//go:build e2e

package counterparts

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/egress"
	courierpost "github.com/conclave-llm/conclave/node/courier/post"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
	"github.com/conclave-llm/conclave/secret"
)

// letter is what the mail server has got.
type letter struct {
	Ready         bool
	From          string
	To            []string
	Data          string
	TLS           bool
	Authenticated bool
}

// mailServer starts aiosmtpd, which demands STARTTLS and a password; ca is who has signed its certificate.
func mailServer(t *testing.T) (address, ca string, next func() letter) {
	t.Helper()
	python := os.Getenv("CONCLAVE_MOTO_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_MOTO_PYTHON names no interpreter with aiosmtpd; run make e2e")
	}
	web := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	pair := web.TLS.Certificates[0]
	web.Close()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, text := range map[string]string{cert: ca, key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.CommandContext(t.Context(), python, "smtp_server.py", cert, key, port, "conclave", "pass word")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	said := bufio.NewScanner(out)
	next = func() (m letter) {
		t.Helper()
		if !said.Scan() || json.Unmarshal(said.Bytes(), &m) != nil {
			t.Fatalf("the mail server says %q, %v", said.Text(), said.Err())
		}
		return m
	}
	if !next().Ready {
		t.Fatal("the mail server is not ready")
	}
	return address, ca, next
}

// TestMail_Aiosmtpd sends an alert through a mail server that is somebody else's work.
func TestMail_Aiosmtpd(t *testing.T) {
	address, ca, next := mailServer(t)
	password := "pass word"
	p := courierpost.New(courierpost.Config{Dialer: egress.Direct(nil), Secret: func(string) (secret.Text, error) { return secret.New(password), nil }})
	c := &channel.Channel{
		Name: "mail", Type: channel.Email, Host: address, CA: ca, From: "Conclave <conclave@corp.example>",
		To: []string{"a@corp.example", "b@corp.example"}, User: "conclave", Credential: "smtp",
	}
	a := &alert.Alert{ID: "alrt_1", Kind: channel.NodeDown, Subject: "node/n2", Name: "zürich", Text: "Node zürich does not answer.\n.\nIt is a test."}
	if err := p.Send(t.Context(), c, nil, a); err != nil {
		t.Fatal(err)
	}
	m := next()
	if !m.TLS || !m.Authenticated || m.From != "conclave@corp.example" || strings.Join(m.To, " ") != "a@corp.example b@corp.example" || !strings.Contains(m.Data, "Message-ID: <alrt_1@corp.example>") {
		t.Errorf("got %+v", m)
	}
	password = "another"
	if err := p.Send(t.Context(), c, nil, a); err == nil || !strings.Contains(err.Error(), "535") {
		t.Errorf("a wrong password: got %v", err)
	}
	c.TLS, c.User, c.Credential = channel.NoTLS, "", ""
	if err := p.Send(t.Context(), c, nil, a); err == nil {
		t.Error("a server that demands STARTTLS took a letter in clear")
	}
}
