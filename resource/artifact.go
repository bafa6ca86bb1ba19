package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// The kinds of artifacts.
const (
	// ArtifactFile is a file that a client uploaded, or that a batch made.
	ArtifactFile = "file"
	// ArtifactBatch is a batch that the cluster runs.
	ArtifactBatch = "batch"
	// ArtifactProvider is a thing that a provider keeps: here is whose it is, and where.
	ArtifactProvider = "provider"
)

// The states of a batch, in OpenAI's words.
const (
	BatchValidating = "validating"
	BatchFailed     = "failed"
	BatchInProgress = "in_progress"
	BatchFinalizing = "finalizing"
	BatchCompleted  = "completed"
	BatchExpired    = "expired"
	BatchCancelling = "cancelling"
	BatchCancelled  = "cancelled"
)

// Bounds of artifacts.
const (
	// MaxArtifactID bounds the id of one.
	MaxArtifactID = 256
	// MaxParts is how many parts a file may have, and what a batch has made of its file.
	MaxParts = 64
	// PartBytes is the size of a part that is not the last of a file.
	PartBytes = 16 << 20
	// MaxBatchParallel is the most lines of a batch that are sent at once.
	MaxBatchParallel = 256
	maxArtifactText  = 512
	maxBatchMetadata = 16 << 10
	maxBatchProblems = 100
)

// Artifact is a thing of a client's that has an id: a file, a batch, or something that a provider
// keeps. What is in a file is in blobs; the record has nothing of it.
type Artifact struct {
	ID           string     `json:"id"`
	Kind         string     `json:"kind"`
	Owners       Owners     `json:"owners,omitzero"`
	DeploymentID string     `json:"deployment_id,omitempty"` // of what a provider keeps
	CreatedAt    Time       `json:"created_at,omitempty"`
	ExpiresAt    Time       `json:"expires_at,omitempty"`
	ChargedAt    Time       `json:"charged_at,omitempty"` // when what a provider's batch used was charged; 0: it was not
	File         *FileFacts `json:"file,omitempty"`
	Batch        *BatchJob  `json:"batch,omitempty"`

	// Of what a provider keeps: the models' names in its lines, of a batch's files and of batches, and what is known of a batch.
	Names []ModelName `json:"names,omitempty"`
	Order *BatchOrder `json:"order,omitempty"`
}

// FileFacts are what is known of a file.
type FileFacts struct {
	Name    string `json:"name,omitempty"` // as the client gave it
	Purpose string `json:"purpose"`
	Bytes   int64  `json:"bytes"`
	Parts   []Part `json:"parts,omitempty"` // in their order; none: it is empty
}

// Part is a part of a file: a blob.
type Part struct {
	Blob  string `json:"blob"` // digest
	Bytes int64  `json:"bytes"`
	Lines int64  `json:"lines,omitempty"` // of what a batch has made
}

// PartOf is the part that a body makes.
func PartOf(body []byte, lines int64) Part {
	sum := sha256.Sum256(body)
	return Part{Blob: hex.EncodeToString(sum[:]), Bytes: int64(len(body)), Lines: lines}
}

// BatchJob is what is known of a batch that the cluster runs. One node runs it at a time: the one
// that Runner names, until LeaseUntil. It sends no line that does not stand in Asked, so that of a
// runner that died those lines alone may have been sent and have no answer. Lines count from 0.
type BatchJob struct {
	Endpoint  string          `json:"endpoint"`
	InputFile string          `json:"input_file"`
	Window    string          `json:"window,omitempty"`   // as the client gave it
	Metadata  json.RawMessage `json:"metadata,omitempty"` // the client's
	Address   string          `json:"address,omitempty"`  // of the client
	Status    string          `json:"status"`

	Runner     string  `json:"runner,omitempty"` // a node and its process
	LeaseUntil Time    `json:"lease_until,omitempty"`
	Asked      []int64 `json:"asked,omitempty"` // lines that the runner sends now
	Again      []int64 `json:"again,omitempty"` // lines that were not taken, to be sent again
	Next       int64   `json:"next,omitempty"`  // the first line that was never sent
	Total      int64   `json:"total,omitempty"`
	Completed  int64   `json:"completed,omitempty"`
	Failed     int64   `json:"failed,omitempty"`

	Output     []Part         `json:"output,omitempty"` // lines so far
	Errors     []Part         `json:"errors,omitempty"`
	OutputFile string         `json:"output_file,omitempty"`
	ErrorFile  string         `json:"error_file,omitempty"`
	Problems   []BatchProblem `json:"problems,omitempty"` // why it failed
	Moments    BatchMoments   `json:"moments,omitzero"`

	OutputSeconds int64 `json:"output_seconds,omitempty"` // after which the files of answers expire; 0: with the batch
}

// BatchMoments are when a batch came to its states.
type BatchMoments struct {
	Ends       Time `json:"ends,omitempty"` // the end of its window
	InProgress Time `json:"in_progress,omitempty"`
	Finalizing Time `json:"finalizing,omitempty"`
	Completed  Time `json:"completed,omitempty"`
	Failed     Time `json:"failed,omitempty"`
	Expired    Time `json:"expired,omitempty"`
	Cancelling Time `json:"cancelling,omitempty"`
	Cancelled  Time `json:"cancelled,omitempty"`
}

// BatchProblem is something wrong with the file of a batch.
type BatchProblem struct {
	Line    int64  `json:"line,omitempty"` // from 1 on; 0: of the whole
	Code    string `json:"code"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`
}

// Over says that nothing of the batch is left to do.
func (b *BatchJob) Over() bool {
	switch b.Status {
	case BatchFailed, BatchCompleted, BatchExpired, BatchCancelled:
		return true
	}
	return false
}

// Parts are all blobs that the artifact refers to.
func (a *Artifact) Parts() (all []Part) {
	if a.File != nil {
		all = append(all, a.File.Parts...)
	}
	if a.Batch != nil {
		all = append(append(all, a.Batch.Output...), a.Batch.Errors...)
	}
	return all
}

// Ref is how blobs refer to the artifact.
func (a *Artifact) Ref() string { return "artifact/" + a.ID }

// Canonicalize does nothing: nothing of it has two forms.
func (a *Artifact) Canonicalize() {}

// Validate returns an *Invalid that says what is wrong.
func (a *Artifact) Validate() error {
	switch {
	case !ValidArtifactID(a.ID):
		return invalidf("id", "%q is no id of a file, a batch or a thing of a provider's", a.ID)
	case a.ExpiresAt <= 0:
		return invalidf("expires_at", "must be given")
	case (a.Kind == ArtifactFile) != (a.File != nil), (a.Kind == ArtifactBatch) != (a.Batch != nil), (a.Kind == ArtifactProvider) != (a.DeploymentID != ""):
		return invalidf("kind", "%q does not fit what is told", a.Kind)
	case a.Kind != ArtifactFile && a.Kind != ArtifactBatch && a.Kind != ArtifactProvider:
		return invalidf("kind", "%q is none of file, batch and provider", a.Kind)
	case a.Kind != ArtifactProvider && (a.Names != nil || a.Order != nil):
		return invalidf("kind", "%q does not fit what is told", a.Kind)
	}
	if err := validModelNames(a.Names); err != nil {
		return err
	}
	if a.Order != nil {
		return a.Order.validate()
	}
	if a.File != nil {
		if err := a.File.validate(); err != nil {
			return err
		}
	}
	if a.Batch != nil {
		return a.Batch.validate()
	}
	return nil
}

func (f *FileFacts) validate() error {
	switch {
	case f.Purpose == "" || len(f.Purpose) > 64:
		return invalidf("purpose", "must have 1 to 64 bytes")
	case len(f.Name) > maxArtifactText:
		return invalidf("name", "may have at most %d bytes", maxArtifactText)
	}
	size, err := partsSize("parts", f.Parts)
	if err == nil && size != f.Bytes {
		return invalidf("bytes", "%d are not the %d of the parts", f.Bytes, size)
	}
	return err
}

// outputExpiry is when the files of the batch's answers expire; nil: with the batch.
func (b *BatchJob) outputExpiry() *Expiry {
	if b.OutputSeconds == 0 {
		return nil
	}
	return &Expiry{Anchor: ExpiryAnchor, Seconds: b.OutputSeconds}
}

func (b *BatchJob) validate() error {
	if err := b.outputExpiry().validate("output"); err != nil {
		return err
	}
	if _, err := partsSize("output", b.Output); err != nil {
		return err
	}
	if _, err := partsSize("errors", b.Errors); err != nil {
		return err
	}
	switch {
	case b.Endpoint == "" || len(b.Endpoint) > maxArtifactText:
		return invalidf("endpoint", "must have 1 to %d bytes", maxArtifactText)
	case !ValidArtifactID(b.InputFile):
		return invalidf("input_file", "%q is no id of a file", b.InputFile)
	case len(b.Metadata) > maxBatchMetadata:
		return invalidf("metadata", "may have at most %d bytes", maxBatchMetadata)
	case len(b.Problems) > maxBatchProblems:
		return invalidf("problems", "are more than %d", maxBatchProblems)
	case b.Next < 0 || b.Next > b.Total || len(b.Asked) > MaxBatchParallel || len(b.Again) > MaxBatchParallel:
		return invalidf("next", "%d is no line of %d, or too many lines are asked at once", b.Next, b.Total)
	}
	switch b.Status {
	case BatchValidating, BatchInProgress, BatchFinalizing, BatchCancelling:
		return nil
	}
	if !b.Over() {
		return invalidf("status", "%q is none of a batch", b.Status)
	}
	return nil
}

func partsSize(field string, all []Part) (size int64, err error) {
	if len(all) > MaxParts {
		return 0, invalidf(field, "are %d, more than %d", len(all), MaxParts)
	}
	for _, p := range all {
		if !ValidDigest(p.Blob) || p.Bytes < 0 || p.Bytes > MaxBlobBytes {
			return 0, invalidf(field, "%q of %d bytes is no part", p.Blob, p.Bytes)
		}
		size += p.Bytes
	}
	return size, nil
}

// ValidArtifactID says whether an id can be that of an artifact. Providers make them too: any
// text of printable ASCII without a slash.
func ValidArtifactID(id string) bool {
	return id != "" && len(id) <= MaxArtifactID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == '"' })
}

// Sees says whether the principal may see what is theirs: the key that made it, the user's other
// keys, or where it is nobody's, the team's.
func (p *Principal) Sees(o *Owners) bool {
	switch {
	case p.Key == nil: // the master key, which sees its own
		return p.Master && o.KeyID == ""
	case o.KeyID == "":
		return false
	case o.KeyID == p.Key.ID:
		return true
	case o.UserID != "":
		return o.UserID == p.Key.UserID && (p.Organization == nil && o.OrganizationID == "" || p.Organization != nil && o.OrganizationID == p.Organization.ID)
	}
	return o.TeamID != "" && p.Team != nil && o.TeamID == p.Team.ID
}
