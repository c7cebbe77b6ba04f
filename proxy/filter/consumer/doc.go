// Package consumer is what filters know of the known API clients alike: who
// shows a key or certificate, who may pass, and what a service is told.
package consumer
