package llm

// UsageSource says where the numbers of a Usage come from.
type UsageSource uint8

// The sources of usage.
const (
	UsageNone      UsageSource = iota // nothing was used
	UsageProvider                     // the provider reported it
	UsageEstimated                    // counted from what passed
)

// String names the source as the ledger and the headers do.
func (s UsageSource) String() string {
	return [...]string{"none", "provider", "estimated"}[s]
}

// Service is the tier of service at which a provider says that it answered.
type Service uint8

// The tiers of service.
const (
	ServiceUnsaid Service = iota // it does not say; the zero value
	ServiceStandard
	ServiceBatch
	ServiceFlex
	ServicePriority
	ServiceBalanced
	ServiceUltrafast
	ServiceDecisions
	numServices
)

var serviceNames = [numServices]string{"", "", "batch", "flex", "priority", "balanced", "ultrafast", "decisions"}

// String names the tier as prices do, "" for the standard one.
func (s Service) String() string {
	if s < numServices {
		return serviceNames[s]
	}
	return ""
}

// ServiceOf reads the name of a tier. "auto" and names that are not known say nothing.
func ServiceOf(name []byte) Service {
	switch string(name) {
	case "default", "standard", "STANDARD", "ON_DEMAND":
		return ServiceStandard
	}
	for i, n := range serviceNames {
		if n != "" && string(name) == n {
			return Service(i)
		}
	}
	return ServiceUnsaid
}

// Usage is tokens in disjoint classes: their sum is what the provider counted in all. Units
// are what is not counted in tokens.
type Usage struct {
	Input          int64 // text of the prompt that was neither read from nor written to a cache
	CacheRead      int64 // text
	CacheWrite     int64 // kept for 5 minutes, or for what the provider does not say
	CacheWrite1h   int64 // kept for an hour
	CacheReadAudio int64
	CacheReadImage int64
	AudioInput     int64
	ImageInput     int64
	Output         int64 // text of the completion without reasoning
	Reasoning      int64
	AudioOutput    int64
	ImageOutput    int64
	Units          Units
	Service        Service
	Source         UsageSource
}

// Units are amounts beside tokens. Times are milliseconds.
type Units struct {
	ServedMS     int64 // from dialing to the last byte, for prices by time
	InputMS      int64 // of audio or video that was sent
	OutputMS     int64 // of audio or video that was made
	Characters   int64 // of text that was spoken
	Queries      int64 // of searches and rerankings
	Pages        int64 // of documents that were read
	InputImages  int64
	OutputImages int64
	InputPixels  int64
	OutputPixels int64
}

// Prompt is all tokens of the prompt.
func (u Usage) Prompt() int64 {
	return u.Input + u.CacheRead + u.CacheWrite + u.CacheWrite1h + u.CacheReadAudio + u.CacheReadImage + u.AudioInput + u.ImageInput
}

// Completion is all tokens of the completion.
func (u Usage) Completion() int64 { return u.Output + u.Reasoning + u.AudioOutput + u.ImageOutput }

// Total is all tokens.
func (u Usage) Total() int64 { return u.Prompt() + u.Completion() }
