#ifndef SHAPE2_H
#define SHAPE2_H

#include <stddef.h>

#define SHAPE2_TEXT_MAX 64

typedef enum { SHAPE2_CIRCLE, SHAPE2_RECT, SHAPE2_TRIANGLE } shape2_kind;

/* a and b are radius, sides or, with c, the three sides of a triangle. */
typedef struct {
    shape2_kind kind;
    double a, b, c;
} shape2_t;

/* Each returns 0, or -1 when the measures make no such shape. */
int shape2_circle(shape2_t *out, double radius);
int shape2_rect(shape2_t *out, double width, double height);
int shape2_triangle(shape2_t *out, double a, double b, double c);

double shape2_circle_area(const shape2_t *shape);
double shape2_rect_area(const shape2_t *shape);
double shape2_triangle_area(const shape2_t *shape);

double shape2_area(const shape2_t *shape);
double shape2_perimeter(const shape2_t *shape);

/* Reads "circle 1", "rect 2 3" or "triangle 3 4 5"; 0 on success. */
int shape2_parse(shape2_t *out, const char *text);
/* Writes at most size bytes, the terminator included; returns the length of the whole text. */
int shape2_format(const shape2_t *shape, char *buffer, size_t size);

#endif
