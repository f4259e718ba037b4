ipvsadm -A -u 192.0.2.10:53 -s mh
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.11:53 -i -w 1 --tun-type gre
ipvsadm -a -u 192.0.2.10:53 -r [2001:db8:2::12]:53 -i -w 2 --tun-type gre
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.13:53 -i -w 1 --tun-type gre
ipvsadm -a -u 192.0.2.10:53 -r [2001:db8:2::14]:53 -i -w 1 --tun-type gre
ipvsadm -A -u [2001:db8:1::10]:53 -s mh
ipvsadm -a -u [2001:db8:1::10]:53 -r 198.51.100.11:53 -i -w 1 --tun-type gre
ipvsadm -a -u [2001:db8:1::10]:53 -r [2001:db8:2::12]:53 -i -w 2 --tun-type gre
ipvsadm -a -u [2001:db8:1::10]:53 -r 198.51.100.13:53 -i -w 1 --tun-type gre
ipvsadm -a -u [2001:db8:1::10]:53 -r [2001:db8:2::14]:53 -i -w 1 --tun-type gre
