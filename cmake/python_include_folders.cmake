# rosidl's target <package>__rosidl_generator_py carries the include folders of Python and numpy as plain absolute paths, and exports them. Two harms:
#
# * ROS 2 as pip wheels names /opt/python/cp3XX-cp3XX/include/..., folders of the machine that built the wheels, and CMake does not generate when an
#   imported target names a folder that is not there. The right headers reach our targets by find_package anyway, so these names are dropped.
# * CMake does not export a folder inside the source tree, which is where numpy lies when the virtual environment is in the repository (make demo).
#   Our own target keeps these folders for the build and leaves them out of the export.
#
# Where neither holds (ROS 2 from apt or source, no virtual environment here) nothing changes that a user of the package could see.

function(cmdfusion_mend_python_include_folders)
  get_property(targets DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders MATCHES "/opt/python/cp")
      list(FILTER folders EXCLUDE REGEX "^/opt/python/cp")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
  endforeach()

  set(own "${PROJECT_NAME}__rosidl_generator_py")
  get_target_property(folders ${own} INTERFACE_INCLUDE_DIRECTORIES)
  if(folders)
    list(TRANSFORM folders REPLACE "^(/.+)$" "$<BUILD_INTERFACE:\\1>")
    set_target_properties(${own} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
  endif()
endfunction()

# The targets appear while find_package and rosidl run, so look when the whole CMakeLists.txt has been read. Humble's Ubuntu 22.04 has CMake 3.22.
cmake_language(DEFER CALL cmdfusion_mend_python_include_folders)
