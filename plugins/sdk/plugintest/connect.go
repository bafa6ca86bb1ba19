package plugintest

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/secretsource"
)

// source gives connections to fresh, unconfigured plugins.
type source interface {
	connect(t *testing.T) grpc.ClientConnInterface
}

// inMemory serves a plugin in this process.
type inMemory struct {
	guardrail func() sdk.Guardrail
	callback  func() sdk.Callback
	source    func() sdk.SecretSource
	auth      func() sdk.Auth
	filter    func() sdk.RouterFilter
	provider  func() sdk.Provider
}

func (m inMemory) connect(t *testing.T) grpc.ClientConnInterface {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(guardrail.MaxMessage), grpc.MaxSendMsgSize(guardrail.MaxAnswer))
	switch {
	case m.guardrail != nil:
		guardrail.Register(srv, m.guardrail())
	case m.source != nil:
		secretsource.Register(srv, m.source())
	case m.auth != nil:
		auth.Register(srv, m.auth())
	case m.filter != nil:
		routerfilter.Register(srv, m.filter())
	case m.provider != nil:
		modelserver.Register(srv, m.provider())
	default:
		callback.Register(srv, m.callback())
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	conn, err := grpc.NewClient("passthrough:plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		wg.Wait()
	})
	return conn
}
