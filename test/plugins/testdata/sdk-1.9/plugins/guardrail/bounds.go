package guardrail

// MaxBody bounds the body of an answer, in bytes: a message of a plugin holds MaxAnswer.
const MaxBody = 7 << 20
