"""A map of the floor that a player has seen, and ways over it."""

from collections.abc import Iterable

import cv2
import numpy as np

from lerobot_qwenvla.miniworld.players.sight import Sight

CELL_M = 0.2
# From where the player first looked around, in each direction.
EXTENT_M = 25.0
# Between the middle of the player, 0.4 m wide to each side, and a wall; with room for a cell.
CLEARANCE_M = 0.55
# cv2 takes corners in fractions of a cell, as integers with so many binary places.
_PLACES = 4
_NEIGHBOURS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]


class FloorMap:
    """Floor and walls as they come into sight, in cells of a grid (rows along z, columns along x).

    Attributes:
        floor: (N, N) uint8, 1 where floor has been seen.
        walls: (N, N) uint8, 1 where a wall has been seen.
    """

    def __init__(self, center_m: np.ndarray):
        """An empty map around a place (2,)."""
        self._corner_m = center_m - EXTENT_M
        size = round(2 * EXTENT_M / CELL_M) + 1
        self.floor = np.zeros((size, size), np.uint8)
        self.walls = np.zeros((size, size), np.uint8)

    def add(self, sight: Sight) -> None:
        """Draw in what is in sight."""
        view_m = np.vstack([sight.position_m, sight.floor_ends_m])
        cv2.fillPoly(self.floor, [self._fixed_point(view_m)], 1, shift=_PLACES)
        for start, end in self._fixed_point(sight.walls_m):
            cv2.line(self.walls, start, end, 1, shift=_PLACES)

    def cells(self, places_m: np.ndarray) -> np.ndarray:
        """Row and column (..., 2) of places (..., 2)."""
        return np.rint((places_m - self._corner_m) / CELL_M).astype(int)[..., ::-1]

    def places_m(self, cells: np.ndarray) -> np.ndarray:
        """Middles (..., 2) of cells (..., 2)."""
        return cells[..., ::-1] * CELL_M + self._corner_m

    def walkable(self, position_m: np.ndarray, circles: Iterable[tuple[np.ndarray, float]] = ()) -> np.ndarray:
        """Seen floor clear of walls and circles (centre, radius in metres), and what is around the player anyway."""
        closed = np.zeros_like(self.walls)
        for center_m, radius_m in circles:
            cv2.circle(closed, self.cells(center_m)[::-1].tolist(), round(radius_m / CELL_M), 1, cv2.FILLED)
        clear = self._is_clear_of_walls(CLEARANCE_M) & (closed == 0)
        return (self.floor > 0) & (self.walls == 0) & (clear | self._is_around(position_m))

    def not_hidden(self, position_m: np.ndarray) -> np.ndarray:
        """What does not, as far as is known, hide behind a wall what is behind it; with the cells next to walls."""
        return self._is_clear_of_walls(1.5 * CELL_M) | (self._is_around(position_m) & (self.walls == 0))

    def _is_clear_of_walls(self, clearance_m: float) -> np.ndarray:
        return cv2.distanceTransform(1 - self.walls, cv2.DIST_L2, cv2.DIST_MASK_5) >= clearance_m / CELL_M

    def _is_around(self, position_m: np.ndarray) -> np.ndarray:
        here = np.zeros_like(self.walls)
        cv2.circle(here, self.cells(position_m)[::-1].tolist(), round(CLEARANCE_M / CELL_M), 1, cv2.FILLED)
        return here > 0

    def unknown(self) -> np.ndarray:
        """Where nothing has been seen.  # (N, N) bool"""
        return (self.floor == 0) & (self.walls == 0)

    def is_clear(self, passable: np.ndarray, start_m: np.ndarray, ends_m: np.ndarray) -> np.ndarray:
        """Whether the straight ways from a place (2,) to others (K, 2) lead over passable cells only.  # (K,) bool"""
        longest_m = np.linalg.norm(ends_m - start_m, axis=-1).max(initial=CELL_M)
        shares = np.linspace(0, 1, int(np.ceil(2 * longest_m / CELL_M)))[:, None, None]
        cells = self.cells(start_m + shares * (ends_m - start_m))  # (S, K, 2)
        return passable[cells[..., 0], cells[..., 1]].all(axis=0)

    def distances_m(self, passable: np.ndarray, start_m: np.ndarray) -> np.ndarray:
        """Length of the shortest way from a place (2,) to every cell, infinite where none leads."""
        rows, columns = (slice(a.min(), a.max() + 1) for a in np.nonzero(self.floor))
        distances = np.full(passable.shape, np.inf)
        distances[tuple(self.cells(start_m))] = 0.0
        open_cells = passable[rows, columns]
        around = np.pad(distances[rows, columns], 1, constant_values=np.inf)
        inner, height, width = around[1:-1, 1:-1], *open_cells.shape
        while True:
            shorter = inner.copy()
            for row, column in _NEIGHBOURS:
                shifted = around[1 + row : 1 + row + height, 1 + column : 1 + column + width]
                np.minimum(shorter, shifted + CELL_M * np.hypot(row, column), out=shorter, where=open_cells)
            if np.array_equal(shorter, inner):
                break
            inner[:] = shorter
        distances[rows, columns] = inner
        return distances

    def waypoint_m(self, passable: np.ndarray, distances_m: np.ndarray, start_m: np.ndarray, cell: tuple) -> np.ndarray:
        """The farthest place (2,) on the shortest way from a place to a cell that can be walked to straight."""
        way = [np.array(cell)]
        while distances_m[tuple(way[-1])] > 0:
            row, column = way[-1]
            around = distances_m[row - 1 : row + 2, column - 1 : column + 2]
            way.append(way[-1] + np.unravel_index(around.argmin(), around.shape) - 1)
        places_m = self.places_m(np.array(way))  # (K, 2), backwards
        clear = self.is_clear(passable, start_m, places_m)
        clear[-1] = True
        return places_m[clear.argmax()]

    def _fixed_point(self, places_m: np.ndarray) -> np.ndarray:
        return np.rint((places_m - self._corner_m) / CELL_M * 2**_PLACES).astype(np.int32)
