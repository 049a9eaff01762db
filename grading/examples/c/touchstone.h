/* The process lane's protocol (grading/PROTOCOL.md) with nothing but the standard library.
 *
 * A header is JSON that the grader wrote without blanks, so that a value is found behind its quoted
 * name. That is all the JSON a numeric program needs; one with a parser at hand uses that.
 */
#ifndef TOUCHSTONE_H
#define TOUCHSTONE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *header;
    unsigned char *body;
} ts_call;

typedef struct {
    const char *name;
    const char *dtype; /* as safetensors writes it: F32, I32 */
    const char *shape; /* as JSON: [2,3] */
    const void *data;
    uint64_t bytes;
} ts_output;

static FILE *ts_requests, *ts_answers;

static inline void *ts_allocate(uint64_t bytes) {
    void *memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) {
        fprintf(stderr, "no memory for %llu bytes\n", (unsigned long long)bytes);
        exit(1);
    }
    return memory;
}

static inline uint64_t ts_number(const unsigned char *bytes) {
    uint64_t number = 0;
    for (int i = 7; i >= 0; i--) number = number << 8 | bytes[i];
    return number;
}

static inline void ts_put_number(uint64_t number) {
    for (int i = 0; i < 8; i++) fputc((int)(number >> (8 * i) & 0xff), ts_answers);
}

/* The next call; 0 when there are no more. */
static inline int ts_next(ts_call *call) {
    unsigned char lengths[16];
    if (!ts_requests) {
        ts_requests = fdopen(atoi(getenv("TOUCHSTONE_REQUEST_FD")), "rb");
        ts_answers = fdopen(atoi(getenv("TOUCHSTONE_ANSWER_FD")), "wb");
    }
    if (fread(lengths, 1, 16, ts_requests) != 16) return 0;
    uint64_t header = ts_number(lengths), body = ts_number(lengths + 8);
    call->header = ts_allocate(header + 1);
    call->body = ts_allocate(body);
    return fread(call->header, 1, header, ts_requests) == header &&
           fread(call->body, 1, body, ts_requests) == body;
}

static inline void ts_free(ts_call *call) {
    free(call->header);
    free(call->body);
}

/* What follows "name": behind `from`, or NULL. */
static inline const char *ts_find(const char *from, const char *name) {
    char quoted[96];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = from ? strstr(from, quoted) : NULL;
    return at ? at + strlen(quoted) : NULL;
}

static inline uint64_t ts_size(const ts_call *call, const char *name) {
    const char *at = ts_find(ts_find(call->header, "sizes"), name);
    return at ? strtoull(at, NULL, 10) : 0;
}

static inline double ts_parameter(const ts_call *call, const char *name, double otherwise) {
    const char *from = ts_find(call->header, "parameters"), *end = from ? strchr(from, '}') : NULL;
    const char *at = ts_find(from, name);
    return at && at < end ? strtod(at, NULL) : otherwise;
}

/* The entry of an input in the header's table, or NULL. */
static inline const char *ts_entry(const ts_call *call, const char *name) {
    char quoted[96];
    snprintf(quoted, sizeof quoted, "{\"name\":\"%s\",", name);
    const char *inputs = ts_find(call->header, "inputs"), *outputs = ts_find(inputs, "outputs");
    const char *at = inputs ? strstr(inputs, quoted) : NULL;
    return at && at < outputs ? at : NULL;
}

/* The bytes of an input, or NULL when the call does not have it. */
static inline const void *ts_input(const ts_call *call, const char *name) {
    const char *entry = ts_entry(call, name);
    return entry ? call->body + strtoull(ts_find(entry, "offset"), NULL, 10) : NULL;
}

static inline int ts_is(const ts_call *call, const char *name, const char *dtype) {
    const char *entry = ts_entry(call, name);
    char quoted[16];
    snprintf(quoted, sizeof quoted, "\"%s\"", dtype);
    return entry && strncmp(ts_find(entry, "dtype"), quoted, strlen(quoted)) == 0;
}

/* Element i of an input in f32, f16 or bf16. */
static inline float ts_element(const void *data, const char *dtype, uint64_t i) {
    if (strcmp(dtype, "f32") == 0) return ((const float *)data)[i];
    uint16_t half = ((const uint16_t *)data)[i];
    uint32_t bits = (uint32_t)half << 16; /* bf16 is the upper half of an f32 */
    if (strcmp(dtype, "f16") == 0) {
        uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
        if (exponent == 31) {
            bits = sign | 0x7f800000 | fraction << 13;
        } else if (exponent > 0) {
            bits = sign | (exponent + 112) << 23 | fraction << 13;
        } else {
            float tiny = (float)fraction / 16777216.0f;
            return sign ? -tiny : tiny;
        }
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The type of an input: one of f32, f16, bf16; NULL for another. */
static inline const char *ts_real(const ts_call *call, const char *name) {
    static const char *const types[] = {"f32", "f16", "bf16"};
    for (int i = 0; i < 3; i++)
        if (ts_is(call, name, types[i])) return types[i];
    return NULL;
}

static inline void ts_reply(const ts_call *call, const char *unsupported, const char *table,
                     const ts_output *outputs, int count, uint64_t data) {
    const char *nonce = ts_find(call->header, "nonce") + 1;
    int length = (int)(strchr(nonce, '"') - nonce);
    char header[512];
    int bytes = unsupported ? snprintf(header, sizeof header, "{\"nonce\":\"%.*s\",\"unsupported\":\"%s\"}",
                                       length, nonce, unsupported)
                            : snprintf(header, sizeof header, "{\"nonce\":\"%.*s\"}", length, nonce);
    ts_put_number((uint64_t)bytes);
    ts_put_number(unsupported ? 0 : 8 + strlen(table) + data);
    fputs(header, ts_answers);
    if (!unsupported) {
        ts_put_number(strlen(table));
        fputs(table, ts_answers);
        for (int i = 0; i < count; i++) fwrite(outputs[i].data, 1, outputs[i].bytes, ts_answers);
    }
    fflush(ts_answers);
}

/* Refuses a call: it is then not counted as wrong. */
static inline void ts_unsupported(const ts_call *call, const char *why) {
    ts_reply(call, why, "", NULL, 0, 0);
}

static inline void ts_answer(const ts_call *call, const ts_output *outputs, int count) {
    char table[2048];
    int at = snprintf(table, sizeof table, "{");
    uint64_t offset = 0;
    for (int i = 0; i < count; i++) {
        const ts_output *o = &outputs[i];
        at += snprintf(table + at, sizeof table - (size_t)at,
                       "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%llu,%llu]}", i ? "," : "",
                       o->name, o->dtype, o->shape, (unsigned long long)offset,
                       (unsigned long long)(offset + o->bytes));
        offset += o->bytes;
    }
    at += snprintf(table + at, sizeof table - (size_t)at, "}");
    while (at % 8) table[at++] = ' ';
    table[at] = 0;
    ts_reply(call, NULL, table, outputs, count, offset);
}

#endif
