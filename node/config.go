package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// Config says how one node runs.
type Config struct {
	Name      string // unique in the cluster
	DataDir   string // made with mode 0700
	Listen    string // of clients
	Cluster   string // cluster port, TCP and UDP
	Advertise string // where the others reach it; "": Cluster
	ClientURL string // told to the other nodes; "": made from Listen

	MasterKey secret.Text // its hash is the cluster's first admin credential
	KEK       secret.Text // "": DataDir/kek
	KEKNext   secret.Text // the KEK to come, where KEK is configured
	// KEKCover seals DataDir/kek by a key service; nil: the file holds the KEK itself.
	KEKCover secret.Cover
	// Environ looks up variables of this process, with those opened that it holds sealed; nil:
	// os.LookupEnv.
	Environ func(name string) (string, bool)
	// SealedUnder names the values of the environment and the file that were sealed for this node, each with the id of the KEK
	// under which it was.
	SealedUnder map[string]string
	// RenewalGrace is how long a rotation of the cluster's keys waits for a node that is out of
	// reach; 0: 15 s.
	RenewalGrace time.Duration

	Bootstrap bool          // found a new cluster
	Blobs     [][]byte      // bodies of the files whose digests Resources have; stored before
	Resources *declare.File // applied at the start, once there is a leader; nil: none
	Join      string        // cluster address of a member to join through; "": no join
	Token     string        // join token

	MaxConnections        int            // of clients; 0: 16384
	MaxClusterConnections int            // 0: 512
	ServeStale            *time.Duration // instead of the cluster's setting; nil: the setting's
	Journal               ledger.Mode    // "": write
	JournalDir            string         // "": DataDir/journal
	JournalKeep           time.Duration  // sealed segments; four times as long for a callback that is behind; 0: 7 days
	JournalMaxMB          int            // or so many MiB of them, and four times as many; 0: 1024
	PluginDir             string         // "": DataDir/plugins
	Role                  string         // "read": it serves and never votes; "": it may vote
	Seeds                 []string       // cluster addresses where other nodes may be found, beside what is known
	DiskReserveMB         int            // MiB that are to be free on the disk of the data; 0: a twentieth, at most 2048
	Multiplier            int            // of Raft's time-outs; 0: 1
	TLSCert, TLSKey       string         // of the client port; "": plain HTTP
	DrainTimeout          time.Duration  // for requests in flight at a stop; 0: 2 minutes

	// Program is what the process knows of its own program. Its zero value says that it cannot
	// change it.
	Program Program
	// UpgradePublishers are the public keys of those whose bundles this node takes programs from.
	UpgradePublishers []string

	Version string       // of the program
	Exe     string       // binary that serves the shipped plugins; "": this one
	Fatal   func(error)  // the process must exit, with status 78 for consensus.ErrTwin, else 75; nil: it does
	Logger  *slog.Logger // nil: slog.Default()

	Proxy                *egress.Options // for all that this node dials over HTTP; nil: none
	ProxyFromEnvironment bool            // HTTP_PROXY and its like count where Proxy is nil
	Sealed               bool            // dial nothing that the configuration does not name, whatever the setting says

	// KeyServices is the way by which the process asks key services; nil: it asks none.
	KeyServices *egress.Dialer

	// DiskUsage looks at the file system of a folder. Nil: the system's.
	DiskUsage func(dir string) (free, size uint64, err error)

	// PriceHTTP downloads prices. Nil: a client of the node's Egress.
	PriceHTTP pricing.Doer

	// Capture is when bills are compared with what was recorded. Its zero value is good.
	Capture CaptureConfig

	// Rotation is when and how secrets are rotated. Its zero value is good.
	Rotation RotationConfig

	// SignIn is when the tokens of sign-ins are renewed. Its zero value is good.
	SignIn SignInConfig

	// BatchesEvery is when the leader first asks for a batch that a provider runs, and the shortest time between two
	// questions. 0: a minute.
	BatchesEvery time.Duration

	// AuditNow is the time by which the audit log is pruned. Nil: the clock's.
	AuditNow func() time.Time

	// Alerts is when alerts are looked for. Its zero value is good.
	Alerts AlertsConfig

	// SnapshotLook is when to see whether a snapshot is due. Nil: every fifteen seconds.
	SnapshotLook <-chan time.Time
	SnapshotNow  func() time.Time // by which snapshots are scheduled; nil: time.Now

	// Reach says whether another node's cluster address can be reached: for tests that part
	// nodes in one process. Nil, as always in production: it can.
	Reach func(addr string) bool
}

func (c *Config) fill() error {
	if c.Name == "" || c.DataDir == "" || c.Listen == "" || c.Cluster == "" {
		return errors.New("a node needs a name, a data folder, a client address and a cluster address")
	}
	if c.Bootstrap && c.Join != "" {
		return errors.New("a node founds a cluster or joins one, not both")
	}
	if c.Bootstrap && c.Role == resource.MemberRead {
		return errors.New("a read node cannot found a cluster: it never votes")
	}
	if (c.Join == "") != (c.Token == "") {
		return errors.New("joining needs the address of a member and a join token")
	}
	c.defaults()
	return nil
}

// defaults fills in what is not said.
func (c *Config) defaults() {
	if c.Advertise == "" {
		c.Advertise = c.Cluster
	}
	if c.ClientURL == "" {
		c.ClientURL = "http://" + c.Listen
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 16384
	}
	if c.MaxClusterConnections == 0 {
		c.MaxClusterConnections = 512
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 2 * time.Minute
	}
	if c.Environ == nil {
		c.Environ = os.LookupEnv
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Fatal == nil {
		c.Fatal = exit(c.Logger)
	}
}

// loopback says whether an address is reachable from this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Refusal is a start that must not be tried again as it is: the process exits with Status.
type Refusal struct {
	Status int // 78: configuration
	Err    error
}

// Error implements error.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(format string, args ...any) error {
	return &Refusal{Status: 78, Err: fmt.Errorf(format, args...)}
}

// notThere says whether a file is missing.
func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// RotationConfig is when and how keys get new secrets by their schedules.
type RotationConfig struct {
	Look <-chan time.Time // nil: every fifteen seconds
	Now  func() time.Time // nil: time.Now
	HTTP *http.Client     // brings secrets to webhooks; nil: a client of its own
}

// SignInConfig is when the tokens of sign-ins to providers are renewed.
type SignInConfig struct {
	Every time.Duration    // between looks; 0: a minute
	Now   func() time.Time // nil: time.Now
}
