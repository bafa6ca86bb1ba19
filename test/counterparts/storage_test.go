//go:build e2e

package counterparts

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/internal/ports"
	"github.com/conclave-llm/conclave/plugins/builtin/azure"
	"github.com/conclave-llm/conclave/plugins/builtin/google"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
)

// start runs a server until the test ends, and returns when it has said so on its output or errors.
func start(t *testing.T, says, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // some start others
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = launch.SignalGroup(cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	said := bufio.NewScanner(out)
	var all strings.Builder
	for said.Scan() {
		if all.WriteString(said.Text() + "\n"); strings.Contains(said.Text(), says) {
			go io.Copy(io.Discard, out) //nolint:errcheck // ends with the process
			return
		}
	}
	t.Fatalf("%s has ended before it listened: %v\n%s", name, said.Err(), all.String())
}

// freePort is a port that nobody has.
func freePort(t *testing.T) string {
	t.Helper()
	addr, err := ports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// The account that Azurite has, as its documentation gives it.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// azurite asks Azurite for something of a container, signed as its documentation says.
func azurite(t *testing.T, method, base, query string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+"/logs?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Format(http.TimeFormat)
	req.Header.Set("x-ms-date", at)
	req.Header.Set("x-ms-version", "2021-12-02")
	text := fmt.Sprintf("%s\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:%s\nx-ms-version:2021-12-02\n/%s/%[3]s/logs", method, at, azuriteAccount)
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		text += "\n" + name + ":" + value
	}
	key, err := base64.StdEncoding.DecodeString(azuriteKey)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	req.Header.Set("Authorization", "SharedKey "+azuriteAccount+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestSinks_Azurite has the callback azure_blob deliver to Microsoft's emulator, which checks who signs.
func TestSinks_Azurite(t *testing.T) {
	node := os.Getenv("CONCLAVE_NODE")
	if node == "" {
		t.Fatal("CONCLAVE_NODE names no Node; run make e2e")
	}
	port := freePort(t)
	start(t, "successfully listen", node, "js/node_modules/azurite/dist/src/blob/main.js",
		"--blobHost", "127.0.0.1", "--blobPort", port, "--location", t.TempDir(), "--disableTelemetry")
	base := "http://127.0.0.1:" + port + "/" + azuriteAccount
	blobs := func(key string) *azure.Blobs {
		c := &azure.Blobs{}
		sinktest.Configure(t, c, map[string]any{"account": azuriteAccount, "container": "logs", "endpoint": base, "account_key": key, "prefix": "a b/ü"})
		return c
	}
	if n, err := blobs(azuriteKey).Deliver(t.Context(), sinktest.Records(1)); n != 0 || err == nil || !strings.Contains(err.Error(), "ContainerNotFound") {
		t.Fatalf("without a container: delivered %d, %v", n, err)
	}
	if status, body := azurite(t, http.MethodPut, base, "restype=container"); status != http.StatusCreated {
		t.Fatalf("make container: %d %s", status, body)
	}
	for range 2 { // what comes again takes its own place
		sinktest.Deliver(t, blobs(azuriteKey), sinktest.Records(3))
	}
	status, body := azurite(t, http.MethodGet, base, "comp=list&restype=container")
	if status != http.StatusOK || strings.Count(body, "<Name>") != 1 || !strings.Contains(body, "<Name>a b/ü/2026/03/01/12/node_a-00000000000000000001-00000000000000000003.jsonl</Name>") {
		t.Errorf("blobs: %d %s", status, body)
	}
	if n, err := blobs(base64.StdEncoding.EncodeToString([]byte("wrong"))).Deliver(t.Context(), sinktest.Records(3)); n != 0 || err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("with a wrong key: delivered %d, %v", n, err)
	}
}

// TestSinks_CloudStorage has the callback gcs deliver to an emulator of the JSON API.
func TestSinks_CloudStorage(t *testing.T) {
	python := os.Getenv("CONCLAVE_MOTO_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_MOTO_PYTHON names no interpreter with gcp-storage-emulator; run make e2e")
	}
	port := freePort(t)
	start(t, "All services started", python, "-u", "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", port, "--in-memory", "--default-bucket", "logs")
	base := "http://127.0.0.1:" + port
	c := &google.Storage{}
	sinktest.Configure(t, c, map[string]any{"bucket": "logs", "endpoint": base, "prefix": "llm"})
	sinktest.Deliver(t, c, sinktest.Records(3))
	name := "llm/2026/03/01/12/node_a-00000000000000000001-00000000000000000003.jsonl"
	res, err := http.Get(base + "/storage/v1/b/logs/o/" + url.PathEscape(name) + "?alt=media")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || strings.Count(string(b), "\n") != 3 || !strings.Contains(string(b), `"req-3"`) {
		t.Errorf("object: %d %.300s, %v", res.StatusCode, b, err)
	}
}
